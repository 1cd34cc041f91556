//! What is printed at the start: at the first one how to begin, at every one where the server listens.

use std::io::Write;

use respoke_core::ops::FirstRun;

/// Writes the line that is the sign that the server at `url` is ready.
///
/// # Errors
///
/// When `out` cannot be written to.
pub fn print_ready(url: &str, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "respoked listening on {url}")?;
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
        "
A new database was made. This is shown once; keep what you need.

  Dev Console   {url}/console/setup#{setup_token}
                signs you in without a password, once, within 24 hours
  Admin login   {username}  {password}
  API           {url}/docs

  App id        {app_id}
  App-Secret    {secret}
  Role id       {role_id}

Mint a one-use tokenId for a user, as your backend would:

  curl -s {url}/v1/tokens -H 'App-Secret: {secret}' -H 'Content-Type: application/json' \\
    -d '{{\"endpointId\":\"alice\",\"roleId\":\"{role_id}\"}}'

Redeem it, as the user's client would (put the tokenId of the answer in):

  curl -s {url}/v1/session-tokens -H 'Content-Type: application/json' -d '{{\"tokenId\":\"TOKEN_ID\"}}'

Or paste it at {url}/try, and one for another endpoint in a second tab: the two can message each other.
"
    )?;
    out.flush()
}
