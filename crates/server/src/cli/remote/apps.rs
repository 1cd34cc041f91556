//! `respoked app`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::output::{Output, cell};
use super::client::{Client, segment};

/// `respoked app`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Make an app. Its App-Secret is shown this once.
    Create {
        /// What to call it.
        #[arg(long, value_name = "NAME")]
        name: String,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// List the apps.
    List,
    /// Show an app.
    Show {
        /// Id of the app.
        app: String,
    },
    /// Change an app; what is not named stays.
    Update {
        /// Id of the app.
        app: String,
        /// What to call it.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Delete an app. Its secrets, roles, tokens and sessions are over.
    Delete {
        /// Id of the app.
        app: String,
    },
}

/// Settings of an app.
#[derive(Debug, Args)]
pub(in crate::cli) struct Settings {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Whether tokens are minted without a credential; only for trying things out.
    #[arg(long, value_name = "true|false")]
    development_mode: Option<bool>,
    /// Pages of which domains may use the app, separated by commas (*.example.com covers subdomains, localhost:8100
    /// one port), or `any`.
    #[arg(long, value_name = "DOMAINS")]
    permitted_domains: Option<String>,
    /// The longest life of a session, in seconds.
    #[arg(long, value_name = "SECONDS")]
    max_ttl: Option<u64>,
    /// How long a token waits to be redeemed, in seconds.
    #[arg(long, value_name = "SECONDS")]
    activation_window: Option<u64>,
    /// All requests of the app: a rate a second, with `:` the most at once, or `off`.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_app: Option<Value>,
    /// Requests of one endpoint, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_endpoint: Option<Value>,
    /// Requests of one address, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_address: Option<Value>,
    /// Sockets opened for the app together, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_connects: Option<Value>,
    /// Sockets opened by one endpoint, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_endpoint_connects: Option<Value>,
    /// Sockets opened from one address, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_address_connects: Option<Value>,
    /// Messages, publications, signals and changes of presence in the app together, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_messages: Option<Value>,
    /// Those of one endpoint, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_endpoint_messages: Option<Value>,
    /// Those from one address, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_address_messages: Option<Value>,
    /// Frames that requests in the app make others receive, together, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_deliveries: Option<Value>,
    /// Those of one endpoint's requests, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_endpoint_deliveries: Option<Value>,
    /// Those of requests from one address, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_address_deliveries: Option<Value>,
    /// Units of 1,024 bytes that go out because of requests in the app, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_kilobytes: Option<Value>,
    /// Those of one endpoint's requests, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_endpoint_kilobytes: Option<Value>,
    /// Those of requests from one address, likewise.
    #[arg(long, value_name = "RATE[:BURST]|off", value_parser = rate)]
    limit_address_kilobytes: Option<Value>,
    /// What becomes of a session's open sockets when its time is over: end closes them, keep leaves them.
    #[arg(long, value_name = "end|keep")]
    session_expiry: Option<String>,
    /// Connections of the app together, or `off`.
    #[arg(long, value_name = "N|off", value_parser = count)]
    limit_connections: Option<Value>,
    /// Connections of one endpoint, likewise.
    #[arg(long, value_name = "N|off", value_parser = count)]
    limit_endpoint_connections: Option<Value>,
    /// Groups that one connection may be in, likewise.
    #[arg(long, value_name = "N|off", value_parser = count)]
    limit_groups_per_connection: Option<Value>,
    /// Connections that may be in one group, likewise.
    #[arg(long, value_name = "N|off", value_parser = count)]
    limit_members_per_group: Option<Value>,
    /// Megabytes that may be kept of what clients say, or `off` for as many as the server's setting says.
    #[arg(long, value_name = "N|off", value_parser = count)]
    limit_kept_megabytes: Option<Value>,
}

/// Reads `50` or `off`.
fn count(text: &str) -> Result<Value, &'static str> {
    if text == "off" {
        return Ok(Value::Null);
    }
    text.parse::<u64>().map(Value::from).map_err(|_| "it is a number, or off")
}

/// Reads `50`, `50:200` or `off`.
fn rate(text: &str) -> Result<Value, &'static str> {
    let wrong = "it is a rate such as 50 or 50:200, or off";
    if text == "off" {
        return Ok(Value::Null);
    }
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong);
    Ok(match text.split_once(':') {
        None => json!({ "perSecond": number(text)? }),
        Some((per_second, burst)) => json!({ "perSecond": number(per_second)?, "burst": number(burst)? }),
    })
}

impl Settings {
    /// The body that asks for these settings; what is not named is absent.
    fn body(&self, name: Option<&String>) -> Value {
        let mut body = Map::new();
        let mut set = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(field.to_owned(), value);
            }
        };
        set("name", name.map(|name| json!(name)));
        set("description", self.description.as_ref().map(|text| json!(text)));
        set("developmentMode", self.development_mode.map(|on| json!(on)));
        set(
            "permittedDomains",
            self.permitted_domains.as_ref().map(|domains| match domains.trim() {
                "any" => Value::Null,
                list => list.split(',').map(str::trim).filter(|domain| !domain.is_empty()).collect(),
            }),
        );
        set("maxTtl", self.max_ttl.map(|secs| json!(secs)));
        set("activationWindow", self.activation_window.map(|secs| json!(secs)));
        set("sessionExpiry", self.session_expiry.as_ref().map(|word| json!(word)));
        let limits: Map<String, Value> = [
            ("app", &self.limit_app),
            ("endpoint", &self.limit_endpoint),
            ("address", &self.limit_address),
            ("connects", &self.limit_connects),
            ("endpointConnects", &self.limit_endpoint_connects),
            ("addressConnects", &self.limit_address_connects),
            ("messages", &self.limit_messages),
            ("endpointMessages", &self.limit_endpoint_messages),
            ("addressMessages", &self.limit_address_messages),
            ("deliveries", &self.limit_deliveries),
            ("endpointDeliveries", &self.limit_endpoint_deliveries),
            ("addressDeliveries", &self.limit_address_deliveries),
            ("kilobytes", &self.limit_kilobytes),
            ("endpointKilobytes", &self.limit_endpoint_kilobytes),
            ("addressKilobytes", &self.limit_address_kilobytes),
            ("connections", &self.limit_connections),
            ("endpointConnections", &self.limit_endpoint_connections),
            ("groupsPerConnection", &self.limit_groups_per_connection),
            ("membersPerGroup", &self.limit_members_per_group),
            ("keptMegabytes", &self.limit_kept_megabytes),
        ]
        .into_iter()
        .filter_map(|(whose, limit)| Some((whose.to_owned(), limit.clone()?)))
        .collect();
        set("limits", (!limits.is_empty()).then_some(Value::Object(limits)));
        Value::Object(body)
    }
}

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::Create { name, settings } => show(&client.post("/v1/apps", &settings.body(Some(name)))?.body, out),
            Self::List => out.list(
                &client.list("/v1/apps", &[], None)?,
                &[("ID", "id"), ("NAME", "name"), ("DEVELOPMENT", "developmentMode"), ("CREATED", "createdAt")],
            ),
            Self::Show { app } => show(&client.get(&path(app), &[])?.body, out),
            Self::Update { app, name, settings } => {
                let body = settings.body(name.as_ref());
                if body.as_object().is_none_or(Map::is_empty) {
                    return Err(Failure::Usage("nothing to change was named".into()));
                }
                show(&client.put(&path(app), &body)?.body, out)
            }
            Self::Delete { app } => {
                let answer = client.delete(&path(app), &[])?;
                out.say(&answer.body, "The app is deleted, and what stood on it is over.")
            }
        }
    }
}

fn show(app: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.wants_json() {
        return out.json(app);
    }
    let limit = |whose: &str| match &app["limits"][whose] {
        Value::Null => "off".to_owned(),
        rate => format!("{} a second, {} at once", cell(&rate["perSecond"]), cell(&rate["burst"])),
    };
    let most = |what: &str| match &app["limits"][what] {
        Value::Null => "off".to_owned(),
        count => cell(count),
    };
    let domains = match &app["permittedDomains"] {
        Value::Null => "any".to_owned(),
        domains => cell(domains),
    };
    out.lines(&[
        ("Id", cell(&app["id"])),
        ("Name", cell(&app["name"])),
        ("Description", cell(&app["description"])),
        ("App-Secret", cell(&app["secret"])),
        ("Development mode", cell(&app["developmentMode"])),
        ("Permitted domains", domains),
        ("Longest session", format!("{} s", cell(&app["maxTtl"]))),
        ("Activation window", format!("{} s", cell(&app["activationWindow"]))),
        ("Sockets of a session that expires", cell(&app["sessionExpiry"])),
        ("Limit of the app", limit("app")),
        ("Limit of an endpoint", limit("endpoint")),
        ("Limit of an address", limit("address")),
        ("Connects of the app", limit("connects")),
        ("Connects of an endpoint", limit("endpointConnects")),
        ("Connects of an address", limit("addressConnects")),
        ("Messages of the app", limit("messages")),
        ("Messages of an endpoint", limit("endpointMessages")),
        ("Messages of an address", limit("addressMessages")),
        ("Deliveries of the app", limit("deliveries")),
        ("Deliveries of an endpoint", limit("endpointDeliveries")),
        ("Deliveries of an address", limit("addressDeliveries")),
        ("Kilobytes of the app", limit("kilobytes")),
        ("Kilobytes of an endpoint", limit("endpointKilobytes")),
        ("Kilobytes of an address", limit("addressKilobytes")),
        ("Connections", most("connections")),
        ("Connections of an endpoint", most("endpointConnections")),
        ("Groups of a connection", most("groupsPerConnection")),
        ("Members of a group", most("membersPerGroup")),
        ("Megabytes kept", most("keptMegabytes")),
        ("Created", cell(&app["createdAt"])),
        ("Updated", cell(&app["updatedAt"])),
    ])
}

fn path(app: &str) -> String {
    format!("/v1/apps/{}", segment(app))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn body(line: &str) -> Value {
        Line::parse_from(std::iter::once("x").chain(line.split_whitespace())).settings.body(None)
    }

    #[test]
    fn only_what_is_named_is_sent() {
        assert_eq!(body(""), json!({}));
        assert_eq!(
            body("--permitted-domains any --limit-app off --limit-endpoint 5:9 --development-mode false"),
            json!({"permittedDomains": null, "developmentMode": false,
                   "limits": {"app": null, "endpoint": {"perSecond": 5, "burst": 9}}})
        );
        assert_eq!(
            body("--limit-connects 9 --limit-endpoint-messages off"),
            json!({"limits": {"connects": {"perSecond": 9}, "endpointMessages": null}})
        );
        assert_eq!(
            body("--session-expiry keep --limit-connections off --limit-members-per-group 7"),
            json!({"sessionExpiry": "keep", "limits": {"connections": null, "membersPerGroup": 7}})
        );
        assert_eq!(body("--permitted-domains a.test,*.b.test"), json!({"permittedDomains": ["a.test", "*.b.test"]}));
    }
}
