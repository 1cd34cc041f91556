//! What is printed at the start: at the first one how to begin, at every one where the server listens.

use std::io::Write;

use respoke_core::ops::FirstRun;

/// By which URLs the server is reached.
#[derive(Clone, Debug)]
pub struct Links {
    /// By its own machine.
    pub listening: String,
    /// By everybody, as far as is known: what links say.
    pub public: String,
    /// Whether others reach it by a URL that it was not told.
    pub others_unknown: bool,
}

/// Writes the line that is the sign that the server is ready.
///
/// # Errors
///
/// When `out` cannot be written to.
pub fn print_ready(links: &Links, out: &mut impl Write) -> std::io::Result<()> {
    let Links { listening, public, .. } = links;
    if links.others_unknown {
        writeln!(
            out,
            "It listens on every address of this machine; links say {public}, which works on this machine alone. Say with \
             --public-url what others call it, such as --public-url https://example.com."
        )?;
    }
    writeln!(out, "respoked listening on {listening}")?;
    out.flush()
}

/// Writes what is shown once.
///
/// # Errors
///
/// When `out` cannot be written to.
pub fn print_first_run(first_run: &FirstRun, url: &str, out: &mut impl Write) -> std::io::Result<()> {
    let FirstRun { username, app_id, role_id, .. } = first_run;
    // The one place where these are shown; the database keeps their hashes only.
    let secret = first_run.app_secret.secret().expose();
    let setup_token = first_run.setup_token.expose();
    let password = first_run.password.as_ref().map_or("(the one you set)", |password| password.expose());
    writeln!(
        out,
        r#"
A new database was made. This is shown once; keep what you need.

  Dev Console   {url}/console/setup#{setup_token}
                signs you in without a password, once, within 24 hours
  Admin login   {username}  {password}
  API           {url}/docs

  App id        {app_id}
  App-Secret    {secret}
  Role id       {role_id}

To try it, paste this into a shell. It mints a one-use tokenId for a user, as your backend would, and redeems it, as the
user's client would:

  MINTED=$(curl -s {url}/v1/tokens --show-error \
    -H 'App-Secret: {secret}' -H 'Content-Type: application/json' \
    -d '{{"endpointId":"alice","roleId":"{role_id}"}}')
  echo "Minting for alice was answered: $MINTED"
  TOKEN_ID=$(echo "$MINTED" | sed -n 's/.*"tokenId":"\([^"]*\)".*/\1/p')
  REDEEMED=$(curl -s {url}/v1/session-tokens --show-error -H 'Content-Type: application/json' \
    -d "{{\"tokenId\":\"$TOKEN_ID\"}}")
  echo "Redeeming it was answered: $REDEEMED"

At {url}/try a fresh tokenId becomes a client in your browser, and one for another endpoint in a second tab: the two can
message each other.
"#
    )?;
    out.flush()
}
