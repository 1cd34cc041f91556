//! `/console/apps/{id}`: the first page of an app. It changes the app's settings and limits, switches development mode, and
//! deletes the app.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use respoke_core::admin::AdminRole;
use respoke_core::app::{App, AppPatch, AppSettings, Limits, LimitsPatch, Rate, SessionExpiry};
use respoke_core::each_limit;
use respoke_core::id::AppId;
use respoke_core::refusal::Refusal;

use super::form::Form;
use super::layout::{Errors, Tab, app_page, app_path, copyable, csrf, csrf_owner, field, guarded, input, textarea};
use super::visit::{Failure, Posted, Visit, see};
use super::words::{duration, parse_duration, when};
use crate::call::Id;
use crate::state::Api;

/// A limit: its field and label in the form, where settings hold it, and where a change of them names it.
struct Limit<T> {
    name: &'static str,
    label: &'static str,
    of: fn(&Limits) -> Option<T>,
    changed: fn(&mut LimitsPatch) -> &mut Option<Option<T>>,
}

macro_rules! limits {
    (
        rates { $(($rate:ident $rate_name:tt $rate_flag:tt $rate_label:tt $rate_default:tt $rate_doc:tt))* }
        counts { $(($count:ident $count_name:tt $count_flag:tt $count_label:tt $count_default:tt $count_doc:tt))* }
    ) => {
        /// Limits of how often, three of a kind.
        const RATES: [Limit<Rate>; [$($rate_name),*].len()] = [$(limits!($rate $rate_name $rate_label)),*];
        /// Limits of what may be open at once, and be kept.
        const COUNTS: [Limit<u32>; [$($count_name),*].len()] = [$(limits!($count $count_name $count_label)),*];
    };
    ($field:ident $name:tt $label:tt) => {
        Limit {
            name: $name,
            label: $label,
            of: |limits| limits.$field,
            changed: |patch| &mut patch.$field,
        }
    };
}

each_limit!(limits);

/// The form's hidden field that holds what it was first filled in with.
const SHOWN: &str = "shown";

/// The app that a page's path names.
///
/// # Errors
///
/// 404 also for an app that is not the admin's.
pub(super) async fn app_of_path(visit: &Visit, id: &str) -> Result<Arc<App>, Failure> {
    let id = AppId::parse(id).ok_or(Refusal::NotFound("Apps"))?;
    let app = visit.api.broker.get_app(&visit.caller, id).await?;
    visit.call.concerns(app.id, None);
    Ok(app)
}

/// `GET`.
pub(super) async fn page(Id(id): Id, visit: Visit) -> Result<Response, Failure> {
    let app = app_of_path(&visit, &id).await?;
    let fields = Fields::of(&app.settings);
    render(&visit, &app, (&fields, &fields), &Errors::default()).await
}

/// `POST`: saves what the form says.
pub(super) async fn save(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let (fields, shown) = (Fields::typed(&form), Form::parse(form.raw(SHOWN).as_bytes()));
    let shown = Fields::typed(&shown);
    let mut errors = Errors::default();
    let mut patch = fields.patch(&mut errors);
    leave_alone_what_stays(&mut patch, &shown.patch(&mut Errors::default()));
    if errors.is_empty() {
        match api.broker.update_app(&visit.caller, app.id, patch, &visit.context()).await {
            Ok(_) => return Ok(see(&format!("{}?done=saved", app_path(&app)))),
            Err(refusal) => errors = Errors::of(refusal)?,
        }
    }
    render(&visit, &app, (&fields, &shown), &errors).await
}

/// Takes what is as it was shown out of a change. What somebody else has changed meanwhile is not changed back, and who
/// may set no limits saves the form as well.
fn leave_alone_what_stays(change: &mut AppPatch, shown: &AppPatch) {
    fn drop_same<T: PartialEq>(change: &mut Option<T>, shown: Option<&T>) {
        if change.as_ref() == shown {
            *change = None;
        }
    }
    drop_same(&mut change.name, shown.name.as_ref());
    drop_same(&mut change.description, shown.description.as_ref());
    drop_same(&mut change.permitted_domains, shown.permitted_domains.as_ref());
    drop_same(&mut change.ttl_secs_max, shown.ttl_secs_max.as_ref());
    drop_same(&mut change.activation_secs, shown.activation_secs.as_ref());
    drop_same(&mut change.session_expiry, shown.session_expiry.as_ref());
    change.limits.leave_alone(&shown.limits);
}

/// `POST …/development`: switches development mode.
pub(super) async fn development(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    let on = form.text("on") == "true";
    let patch = AppPatch { development_mode: Some(on), ..AppPatch::default() };
    api.broker.update_app(&visit.caller, app.id, patch, &visit.context()).await?;
    let word = if on { "development-on" } else { "development-off" };
    Ok(see(&format!("{}?done={word}", app_path(&app))))
}

/// `POST …/delete`: deletes the app, if its name was typed.
pub(super) async fn delete(State(api): State<Arc<Api>>, Id(id): Id, posted: Posted) -> Result<Response, Failure> {
    let Posted { visit, form } = posted;
    let app = app_of_path(&visit, &id).await?;
    if form.text("confirm") != app.settings.name.trim() {
        let mut errors = Errors::default();
        errors.add("confirm", "The name that was typed is not the app's.");
        let fields = Fields::of(&app.settings);
        return render(&visit, &app, (&fields, &fields), &errors).await;
    }
    api.broker.delete_app(&visit.caller, app.id, &visit.context()).await?;
    Ok(see("/console/apps?done=app-deleted"))
}

/// The form's fields as text, so that what was typed stands there again when it is refused.
struct Fields {
    name: String,
    description: String,
    domains: String,
    ttl_max: String,
    activation: String,
    expiry: SessionExpiry,
    rates: [(String, String); RATES.len()],
    counts: [String; COUNTS.len()],
}

impl Fields {
    fn of(settings: &AppSettings) -> Self {
        let AppSettings { name, description, permitted_domains, ttl_secs_max, activation_secs, .. } = settings;
        let text = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
        let rate = |rate: Option<Rate>| (text(rate.map(|rate| rate.per_second)), text(rate.map(|rate| rate.burst)));
        Self {
            name: name.clone(),
            description: description.clone(),
            domains: permitted_domains.as_ref().map(|domains| domains.join("\n")).unwrap_or_default(),
            ttl_max: duration(*ttl_secs_max),
            activation: duration(*activation_secs),
            expiry: settings.session_expiry,
            rates: RATES.map(|limit| rate((limit.of)(&settings.limits))),
            counts: COUNTS.map(|limit| text((limit.of)(&settings.limits))),
        }
    }

    fn typed(form: &Form) -> Self {
        let text = |name: &str| form.text(name).to_owned();
        Self {
            name: text("name"),
            description: text("description"),
            domains: form.lines("domains").join("\n"),
            ttl_max: text("maxTtl"),
            activation: text("activationWindow"),
            expiry: if form.text("sessionExpiry") == "keep" { SessionExpiry::Keep } else { SessionExpiry::End },
            rates: RATES.map(|Limit { name, .. }| (text(&format!("{name}.perSecond")), text(&format!("{name}.burst")))),
            counts: COUNTS.map(|limit| text(limit.name)),
        }
    }

    /// The fields as a browser would send them.
    fn text(&self) -> String {
        let expiry = if self.expiry == SessionExpiry::Keep { "keep" } else { "end" };
        form_urlencoded::Serializer::new(String::new())
            .append_pair("name", &self.name)
            .append_pair("description", &self.description)
            .append_pair("domains", &self.domains)
            .append_pair("maxTtl", &self.ttl_max)
            .append_pair("activationWindow", &self.activation)
            .append_pair("sessionExpiry", expiry)
            .extend_pairs(self.limits())
            .finish()
    }

    /// The fields of limits.
    fn limits(&self) -> impl Iterator<Item = (String, &str)> {
        let rates = RATES.iter().zip(&self.rates).flat_map(|(Limit { name, .. }, (per_second, burst))| {
            [(format!("{name}.perSecond"), per_second.as_str()), (format!("{name}.burst"), burst.as_str())]
        });
        rates.chain(COUNTS.iter().zip(&self.counts).map(|(limit, count)| (limit.name.to_owned(), count.as_str())))
    }

    /// The change; what cannot be read is noted in `errors`. Bounds are the operation's business.
    fn patch(&self, errors: &mut Errors) -> AppPatch {
        let mut secs = |text: &str, field: &str, label: &str| {
            let secs = parse_duration(text);
            if secs.is_none() {
                errors.add(field, &format!("{label} is a length of time such as 90s, 5m, 24h or 7d."));
            }
            secs
        };
        let ttl_secs_max = secs(&self.ttl_max, "maxTtl", "The longest life of a session");
        let activation_secs = secs(&self.activation, "activationWindow", "The time to redeem a token");
        let mut number = |text: &str, label: &str| -> Option<u32> {
            let number = (!text.is_empty()).then(|| text.replace([',', ' '], "").parse());
            if let Some(Err(_)) = number {
                errors.add(label, &format!("{label}: “{text}” is not a whole number."));
            }
            number?.ok()
        };
        let mut limits = LimitsPatch::default();
        for (Limit { label, changed, .. }, (per_second, burst)) in RATES.iter().zip(&self.rates) {
            let (per_second, burst) = (number(per_second, label), number(burst, label));
            let rate = per_second
                .or(burst)
                .map(|rate| Rate { per_second: per_second.unwrap_or(rate), burst: burst.unwrap_or(rate) });
            *changed(&mut limits) = Some(rate);
        }
        for (Limit { label, changed, .. }, count) in COUNTS.iter().zip(&self.counts) {
            *changed(&mut limits) = Some(number(count, label));
        }
        let domains: Vec<_> = self.domains.lines().map(str::to_owned).collect();
        AppPatch {
            name: Some(self.name.clone()),
            description: Some(self.description.clone()),
            development_mode: None,
            permitted_domains: Some((!domains.is_empty()).then_some(domains)),
            ttl_secs_max,
            activation_secs,
            session_expiry: Some(self.expiry),
            limits,
        }
    }
}

/// The page with the form as it is filled in, and as it was first shown.
async fn render(
    visit: &Visit,
    app: &App,
    (fields, shown): (&Fields, &Fields),
    errors: &Errors,
) -> Result<Response, Failure> {
    let now = visit.now();
    let broker = &visit.api.broker;
    let kept = broker.store().kept_bytes(app.id).await.map_err(Refusal::from)?;
    let kept_max = broker.kept_bytes_max(app);
    let body = html! {
        (errors.summary())
        section.card {
            h2 { "App id" }
            p { "Names the app in clients and requests. It is no secret." }
            p { (copyable("the App id", &app.id.to_string())) }
            p {
                "Keeps " strong { (megabytes(kept)) } " of " (megabytes(kept_max)) " of what its clients say: messages, groups, \
                 read marks, push tokens, call reports. Messages that are to be kept are refused once that is full."
            }
            p.quiet { "Created " (when(app.created_at, now)) ", last changed " (when(app.updated_at, now)) "." }
        }
        form.card method="post" action=(app_path(app)) {
            (csrf(visit))
            input type="hidden" name=(SHOWN) value=(shown.text());
            (settings(fields, visit.may(AdminRole::Owner)))
            button.primary { "Save" }
        }
        (development_card(visit, app))
        (delete_card(visit, app))
    };
    Ok(app_page(visit, app, Tab::General, errors.status(), &body))
}

/// Bytes for people.
fn megabytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

fn settings(fields: &Fields, may_limit: bool) -> Markup {
    html! {
        h2 { "Settings" }
        (input("name", "Name", &fields.name, ""))
        (textarea("description", "Description", &fields.description, ""))
        (textarea("domains", "Permitted domains", &fields.domains,
            "Pages of which hosts may use the app, one a line; *.example.com covers every subdomain, localhost:8100 one port. Empty: all."))
        h3 { "Sessions" }
        div.columns {
            (input("maxTtl", "Longest life", &fields.ttl_max, "From 1m to 30d."))
            (input("activationWindow", "Time to redeem a token", &fields.activation, "From 10s to 1d."))
            (field("sessionExpiry", "Sockets after that", "When a session's time is over.", &html! {
                select id="sessionExpiry" name="sessionExpiry" aria-describedby="sessionExpiry-hint" {
                    option value="end" selected[fields.expiry == SessionExpiry::End] { "are closed" }
                    option value="keep" selected[fields.expiry == SessionExpiry::Keep] { "stay until they drop" }
                }
            }))
        }
        h3 { "Limits" }
        p.hint {
            "Leave a field empty for no limit, and what is kept for the server's setting. Only owners change limits. A connect is the opening of a socket; messages \
             are also what is published, signals, and changes of presence. Both count as requests, too. Deliveries are \
             the frames that a request makes others receive, each of them counted; kilobytes are those frames and long \
             answers."
        }
        @if may_limit {
            (limits(fields))
        } @else {
            // Disabled fields are not sent, so these stay hidden beside them.
            @for (name, value) in fields.limits() { input type="hidden" name=(name) value=(value); }
            fieldset disabled { legend.hint { "The limits, for owners to change" } (limits(fields)) }
        }
    }
}

fn limits(fields: &Fields) -> Markup {
    html! {
        @for (limits, rates) in RATES.chunks(3).zip(fields.rates.chunks(3)) {
            div.columns {
                @for (Limit { name, label, .. }, (per_second, burst)) in limits.iter().zip(rates) {
                    fieldset.pair {
                        legend { (label) }
                        (input(&format!("{name}.perSecond"), "A second", per_second, ""))
                        (input(&format!("{name}.burst"), "At once", burst, ""))
                    }
                }
            }
        }
        div.columns {
            @for (limit, count) in COUNTS.iter().zip(&fields.counts) {
                (input(limit.name, limit.label, count, ""))
            }
        }
    }
}

fn development_card(visit: &Visit, app: &App) -> Markup {
    let action = format!("{}/development", app_path(app));
    html! {
        section.card id="development" {
            h2 { "Development mode" }
            @if app.settings.development_mode {
                p { "It is on: clients mint their own tokens with the App id alone, as whichever endpoint they like." }
                form method="post" action=(action) {
                    (csrf(visit)) input type="hidden" name="on" value="false"; button.primary { "Switch it off" }
                }
            } @else {
                p {
                    "It is off: tokens are minted by your backend with an App-Secret. In development mode clients mint their \
                     own with the App id alone, which is handy before there is a backend and open to everybody."
                }
                (guarded("Switch it on…", &html! {
                    p { "From then on " strong { "anybody who knows the App id" } " can act as any endpoint of this app." }
                    form method="post" action=(action) {
                        (csrf(visit)) input type="hidden" name="on" value="true"; button.danger { "Switch development mode on" }
                    }
                }))
            }
        }
    }
}

fn delete_card(visit: &Visit, app: &App) -> Markup {
    html! {
        section.card {
            h2 { "Delete this app" }
            p {
                "Its secrets, roles and bans are removed; its tokens and sessions are over at once, and connected clients \
                 are cut off. There is no way back but a backup."
            }
            (guarded("Delete…", &html! {
                form method="post" action={ (app_path(app)) "/delete" } {
                    (csrf_owner(visit))
                    (input("confirm", &format!("Type “{}” to confirm", app.settings.name), "", ""))
                    button.danger { "Delete the app for good" }
                }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn settings_come_back_as_they_are_shown() {
        let mut settings = AppSettings::named("n".into());
        settings.permitted_domains = Some(vec!["a.test".into(), "*.b.test".into()]);
        // Each its own, so that none can take another's place.
        let rate = |per_second| Some(Rate { per_second, burst: 9 });
        settings.limits = Limits {
            app: None,
            endpoint: rate(1),
            address: rate(2),
            connects: rate(3),
            endpoint_connects: rate(4),
            address_connects: rate(5),
            messages: rate(6),
            endpoint_messages: rate(7),
            address_messages: rate(8),
            ..settings.limits
        };
        settings.session_expiry = SessionExpiry::Keep;
        let mut errors = Errors::default();
        let mut again = AppSettings::named(String::new());
        Fields::of(&settings).patch(&mut errors).apply(&mut again);
        assert!(errors.is_empty());
        assert_eq!(again, settings);
    }

    #[test]
    fn every_limit_has_its_field() {
        let limits = serde_json::to_value(Limits::default()).unwrap();
        let fields = RATES.iter().map(|limit| limit.name).chain(COUNTS.iter().map(|limit| limit.name));
        let known = limits.as_object().unwrap().keys().map(String::as_str);
        assert_eq!(fields.collect::<BTreeSet<_>>(), known.collect::<BTreeSet<_>>());
    }

    #[test]
    fn only_what_was_changed_is_sent_on() {
        let settings = AppSettings::named("n".into());
        let shown = Form::parse(Fields::of(&settings).text().as_bytes());
        let mut fields = Fields::of(&settings);
        fields.counts[0] = "7".into();
        let mut patch = fields.patch(&mut Errors::default());
        leave_alone_what_stays(&mut patch, &Fields::typed(&shown).patch(&mut Errors::default()));
        let limits = LimitsPatch { connections: Some(Some(7)), ..LimitsPatch::default() };
        assert_eq!(patch, AppPatch { limits, ..AppPatch::default() });
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let form = Form::parse(b"name=x&maxTtl=soon&activationWindow=5m&app.perSecond=1,000&connections=many");
        let mut errors = Errors::default();
        let patch = Fields::typed(&form).patch(&mut errors);
        let shown = errors.summary().into_string();
        assert!(shown.contains("longest life") && shown.contains("“many”") && !shown.contains("redeem"), "{shown}");
        assert_eq!(patch.limits.app, Some(Some(Rate { per_second: 1_000, burst: 1_000 })));
        assert_eq!(patch.limits.endpoint, Some(None));
        assert_eq!(patch.permitted_domains, Some(None));
    }
}
