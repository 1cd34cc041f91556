//! `respoked app`: makes, lists, shows, changes and deletes apps.

use clap::{Args, Subcommand};
use respoke_core::app::Rate;
use respoke_core::each_limit;
use respoke_wire::body::apps::{AppView, WriteApp, WriteRate};
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::fields::{body, field, shown};
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
    #[command(flatten)]
    rates: Rates,
    /// What becomes of a session's open sockets when its time is over: end closes them, keep leaves them.
    #[arg(long, value_name = "end|keep")]
    session_expiry: Option<String>,
    #[command(flatten)]
    counts: Counts,
}

macro_rules! flags_of_limits {
    (
        rates { $(($rate:ident $rate_name:tt $rate_flag:tt $rate_label:tt $rate_default:tt $rate_doc:tt))* }
        counts { $(($count:ident $count_name:tt $count_flag:tt $count_label:tt $count_default:tt $count_doc:tt))* }
    ) => {
        /// How often things may be done.
        #[derive(Debug, Args)]
        struct Rates {
            $(
                #[arg(id = $rate_flag, long = $rate_flag, value_name = "RATE[:BURST]|off", value_parser = rate,
                    help = concat!($rate_doc, " A rate a second, with `:` the most at once, or `off`"))]
                $rate: Option<Value>,
            )*
        }

        /// How much there may be.
        #[derive(Debug, Args)]
        struct Counts {
            $(
                #[arg(id = $count_flag, long = $count_flag, value_name = "N|off", value_parser = count,
                    help = concat!($count_doc, " A number, or `off`"))]
                $count: Option<Value>,
            )*
        }

        impl Settings {
            /// The limits that are named, as the API names them.
            fn limits(&self) -> Map<String, Value> {
                let rates = [$(($rate_name, &self.rates.$rate)),*].into_iter();
                let counts = [$(($count_name, &self.counts.$count)),*].into_iter();
                rates.chain(counts).filter_map(|(name, limit)| Some((name.to_owned(), limit.clone()?))).collect()
            }
        }

        /// Names and labels.
        const RATES: &[(&str, &str)] = &[$(($rate_name, $rate_label)),*];
        const COUNTS: &[(&str, &str)] = &[$(($count_name, $count_label)),*];
    };
}

each_limit!(flags_of_limits);

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
        None => body!(WriteRate { per_second: number(text)? }),
        Some((per_second, burst)) => body!(WriteRate { per_second: number(per_second)?, burst: number(burst)? }),
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
        set(field!(WriteApp, name), name.map(|name| json!(name)));
        set(field!(WriteApp, description), self.description.as_ref().map(|text| json!(text)));
        set(field!(WriteApp, development_mode), self.development_mode.map(|on| json!(on)));
        set(
            field!(WriteApp, permitted_domains),
            self.permitted_domains.as_ref().map(|domains| match domains.trim() {
                "any" => Value::Null,
                list => list.split(',').map(str::trim).filter(|domain| !domain.is_empty()).collect(),
            }),
        );
        set(field!(WriteApp, max_ttl), self.max_ttl.map(|secs| json!(secs)));
        set(field!(WriteApp, activation_window), self.activation_window.map(|secs| json!(secs)));
        set(field!(WriteApp, session_expiry), self.session_expiry.as_ref().map(|word| json!(word)));
        let limits = self.limits();
        set(field!(WriteApp, limits), (!limits.is_empty()).then_some(Value::Object(limits)));
        Value::Object(body)
    }
}

impl Command {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::Create { name, settings } => show(&client.post("/v1/apps", &settings.body(Some(name)))?.body, out),
            Self::List => out.list(
                &client.list("/v1/apps", &[], None)?,
                shown!(AppView { "ID": id, "NAME": name, "DEVELOPMENT": development_mode, "CREATED": created_at }),
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
    let limits = &app[field!(AppView, limits)];
    let limit = |whose: &str| match &limits[whose] {
        Value::Null => "off".to_owned(),
        rate => {
            let (per_second, burst) = (&rate[field!(Rate, per_second)], &rate[field!(Rate, burst)]);
            format!("{} a second, {} at once", cell(per_second), cell(burst))
        }
    };
    let most = |what: &str| match &limits[what] {
        Value::Null => "off".to_owned(),
        count => cell(count),
    };
    let domains = match &app[field!(AppView, permitted_domains)] {
        Value::Null => "any".to_owned(),
        domains => cell(domains),
    };
    let mut lines = vec![
        ("Id", cell(&app[field!(AppView, id)])),
        ("Name", cell(&app[field!(AppView, name)])),
        ("Description", cell(&app[field!(AppView, description)])),
        ("App-Secret", cell(&app[field!(AppView, secret)])),
        ("Development mode", cell(&app[field!(AppView, development_mode)])),
        ("Permitted domains", domains),
        ("Longest session", format!("{} s", cell(&app[field!(AppView, max_ttl)]))),
        ("Activation window", format!("{} s", cell(&app[field!(AppView, activation_window)]))),
        ("Sockets of a session that expires", cell(&app[field!(AppView, session_expiry)])),
    ];
    lines.extend(RATES.iter().map(|(name, label)| (*label, limit(name))));
    lines.extend(COUNTS.iter().map(|(name, label)| (*label, most(name))));
    lines.extend([
        ("Created", cell(&app[field!(AppView, created_at)])),
        ("Updated", cell(&app[field!(AppView, updated_at)])),
    ]);
    out.lines(&lines)
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
