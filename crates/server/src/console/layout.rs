//! Markup that all pages use: the frame with its navigation, notices, fields, buttons, lists.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use maud::{Markup, PreEscaped, html};
use respoke_core::admin::AdminRole;
use respoke_core::app::App;
use respoke_core::refusal::{FieldErrors, Refusal};

use super::assets::{HTMX, SCRIPT, STYLE};
use super::form::Form;
use super::visit::{CSRF, Failure, ONCE, UNCONFIRMED, Visit};
use crate::markup::{self, HTML};

/// htmx as the policy of our pages wants it: no style of its own, nothing evaluated, no page kept in the browser's
/// storage, and refusals shown like any other answer.
const HTMX_SETTINGS: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"historyCacheSize":0,"refreshOnHistoryMiss":true,"selfRequestsOnly":true,"responseHandling":[{"code":"204","swap":false},{"code":"[2345]..","swap":true}]}"#;

/// A part of the console, as the navigation names it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Dashboard,
    Apps,
    Requests,
    Audit,
    Nodes,
    Account,
}

const SECTIONS: [(Section, &str, &str); 6] = [
    (Section::Dashboard, "Dashboard", "/console/dashboard"),
    (Section::Apps, "Apps", "/console/apps"),
    (Section::Requests, "Requests", "/console/requests"),
    (Section::Audit, "Audit log", "/console/audit"),
    (Section::Nodes, "Nodes", "/console/nodes"),
    (Section::Account, "Account", "/console/account"),
];

/// A part of an app's pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    General,
    Secrets,
    Roles,
    TryIt,
    Sessions,
    Connections,
    Calls,
    Bans,
}

const TABS: [(Tab, &str, &str); 8] = [
    (Tab::General, "General", ""),
    (Tab::Secrets, "Secrets", "/secrets"),
    (Tab::Roles, "Roles", "/roles"),
    (Tab::TryIt, "Try it", "/try"),
    (Tab::Sessions, "Sessions", "/sessions"),
    (Tab::Connections, "Connections", "/connections"),
    (Tab::Calls, "Calls", "/calls"),
    (Tab::Bans, "Bans", "/bans"),
];

/// What was done, as `?done=` names it after a form was sent.
const DONE: [(&str, &str); 18] = [
    ("saved", "Saved."),
    ("role-saved", "The role is saved. Sessions that use it feel it at once."),
    ("role-deleted", "The role is deleted, and what used it is over."),
    ("app-deleted", "The app is deleted, and everything that stood on it is over."),
    ("revoked", "The secret is revoked."),
    ("development-on", "Development mode is on."),
    ("development-off", "Development mode is off."),
    ("session-ended", "The session is over."),
    ("sessions-ended", "The sessions are over, and their outstanding tokens are spent."),
    ("banned", "The endpoint is banned, and everything it had is over."),
    ("ban-lifted", "The ban is lifted. The endpoint may sign in again with a new token."),
    ("password-changed", "The password is changed, and your other sign-ins are over."),
    ("factor-removed", "The second factor is removed."),
    ("admin-created", "The admin is made, and signs in with the password you gave."),
    ("admin-removed", "The admin is removed, and the admin's sign-ins are over."),
    ("set-up", "Welcome. You are signed in; the server printed your user name and password for the next time."),
    ("connection-ended", "The connection is closed."),
    ("node-drains", "The node sends its clients to the others, and ends."),
];

/// A whole page.
pub(super) fn document(title: &str, body: &Markup) -> Markup {
    let head = html! {
        meta name="color-scheme" content="light dark";
        meta name="htmx-config" content=(HTMX_SETTINGS);
        title { (title) " · respoked" }
        link rel="stylesheet" href=(STYLE.path);
        link rel="icon" href="data:,";
        script src=(HTMX.path) defer {}
        script src=(SCRIPT.path) type="module" {}
    };
    markup::document(&head, body)
}

/// HTML as an answer.
pub(super) fn answer(status: StatusCode, html: Markup) -> Response {
    (status, [(CONTENT_TYPE, HTML)], html.into_string()).into_response()
}

/// A page for somebody who is not signed in.
pub(super) fn outside(status: StatusCode, title: &str, body: &Markup) -> Response {
    answer(status, document(title, &html! { body.outside { main id="main" { (brand()) (body) } } }))
}

pub(super) fn brand() -> Markup {
    html! { p.brand { span.mark aria-hidden="true" { "◆" } " respoked" } }
}

/// A page of the console.
pub(super) fn page(visit: &Visit, section: Section, title: &str, body: &Markup) -> Response {
    page_of(visit, StatusCode::OK, section, title, body)
}

/// The same with a status that says what came of a form.
pub(super) fn page_of(visit: &Visit, status: StatusCode, section: Section, title: &str, body: &Markup) -> Response {
    let frame = html! {
        body {
            a.skip href="#main" { "Skip to the content" }
            header.bar { div {
                (brand())
                nav aria-label="Console" {
                    @for (at, name, path) in SECTIONS.into_iter().filter(|(at, ..)| is_led_to(visit, *at)) {
                        a href=(path) aria-current=[(at == section).then_some("page")] { (name) }
                    }
                    a href="/docs" { "API" }
                }
                form.sign-out method="post" action="/console/sign-out" { (csrf_own(visit)) button.plain { "Sign out" } }
            } }
            main id="main" tabindex="-1" { (done(&visit.query())) (may_only_look(visit)) (body) }
        }
    };
    answer(status, document(title, &frame))
}

/// Whether the navigation leads to a part. A server that is alone has no nodes to tell of.
fn is_led_to(visit: &Visit, section: Section) -> bool {
    match section {
        Section::Nodes => visit.api.among.is_some(),
        Section::Dashboard | Section::Apps | Section::Requests | Section::Audit | Section::Account => true,
    }
}

/// A page of one app, with its tabs.
pub(super) fn app_page(visit: &Visit, app: &App, tab: Tab, status: StatusCode, body: &Markup) -> Response {
    let name = &app.settings.name;
    let root = app_path(app);
    let title = TABS.iter().find(|(at, ..)| *at == tab).map_or("", |(_, title, _)| title);
    let body = html! {
        p.crumbs { a href="/console/apps" { "Apps" } " / " }
        h1 { (name) }
        nav.tabs aria-label="App" {
            @for (at, name, path) in TABS {
                a href={ (root) (path) } aria-current=[(at == tab).then_some("page")] { (name) }
            }
        }
        @if app.settings.development_mode { (development_banner(&root)) }
        (body)
    };
    page_of(visit, status, Section::Apps, &format!("{title} · {name}"), &body)
}

/// Where an app's pages are.
pub(super) fn app_path(app: &App) -> String {
    format!("/console/apps/{}", app.id)
}

fn development_banner(root: &str) -> Markup {
    html! {
        div.banner role="note" {
            strong { "Development mode is on." }
            " Anybody who knows the App id can mint tokens for any endpoint, without a secret. "
            a href={ (root) "#development" } { "Switch it off before real users come" } "."
        }
    }
}

fn done(query: &Form) -> Markup {
    let said = DONE.iter().find(|(word, _)| *word == query.text("done"));
    let unconfirmed = query.given(UNCONFIRMED).is_some();
    html! {
        @if let Some((_, text)) = said {
            p.notice.good role="status" { (text) }
            @if unconfirmed {
                p.notice role="status" {
                    "Not every node of this server has confirmed it yet. One that has not may go by what was before for some \
                     seconds more."
                }
            }
        }
    }
}

fn may_only_look(visit: &Visit) -> Markup {
    html! {
        @if !visit.may(AdminRole::Developer) {
            p.notice role="note" { "Your role is read-only: you see everything, and whatever would change something is refused." }
        }
    }
}

/// The hidden field of every form that changes what a read-only admin may not; for such an admin the style sheet leaves
/// the form's buttons away. It is the operation that refuses.
pub(super) fn csrf(visit: &Visit) -> Markup {
    csrf_locked(visit, AdminRole::Developer)
}

/// The same for what only owners may.
pub(super) fn csrf_owner(visit: &Visit) -> Markup {
    csrf_locked(visit, AdminRole::Owner)
}

fn csrf_locked(visit: &Visit, needed: AdminRole) -> Markup {
    html! { input type="hidden" name=(CSRF) value=(visit.csrf()) data-locked[!visit.may(needed)]; }
}

/// The hidden fields of a form whose answer shows a secret, so that loading the answer again makes no second one.
pub(super) fn csrf_once(visit: &Visit) -> Markup {
    let fresh: [u8; 16] = visit.api.broker.chance().bytes();
    html! { (csrf(visit)) input type="hidden" name=(ONCE) value=(data_encoding::HEXLOWER.encode(&fresh)); }
}

/// The hidden field of a form that is about the admin's own sign-in.
pub(super) fn csrf_own(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(CSRF) value=(visit.csrf()); }
}

/// The way to a page on which something is made, for those who may.
pub(super) fn maker(visit: &Visit, path: &str, label: &str) -> Markup {
    html! { @if visit.may(AdminRole::Developer) { a.button.primary href=(path) { (label) } } }
}

/// A choice among the account's apps.
pub(super) fn app_choice(apps: &[App], chosen: &str) -> Markup {
    field(
        "app",
        "App",
        "",
        &html! {
            select id="app" name="app" {
                option value="" { "All apps" }
                @for app in apps {
                    @let id = app.id.to_string();
                    option value=(id) selected[id == chosen] { (app.settings.name) }
                }
            }
        },
    )
}

/// What was wrong with a form.
#[derive(Default)]
pub(super) struct Errors {
    fields: FieldErrors,
    /// What concerns no one field.
    whole: Option<String>,
}

impl Errors {
    /// What the form can show of a refusal; the rest is a page of its own.
    ///
    /// # Errors
    ///
    /// Every refusal that the form's fields cannot mend.
    pub(super) fn of(refusal: Refusal) -> Result<Self, Failure> {
        match refusal {
            Refusal::Invalid(fields) => Ok(Self { fields, whole: None }),
            Refusal::Conflict(_) | Refusal::Banned { .. } | Refusal::LimitReached(_) => {
                Ok(Self { whole: Some(sentence(&refusal.to_string())), ..Self::default() })
            }
            other => Err(other.into()),
        }
    }

    /// One thing that is wrong.
    pub(super) fn one(field: &str, problem: &str) -> Self {
        let mut errors = Self::default();
        errors.add(field, problem);
        errors
    }

    pub(super) fn add(&mut self, field: &str, problem: &str) {
        self.fields.entry(field.to_owned()).or_default().push(problem.to_owned());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.whole.is_none()
    }

    /// Everything, above the form.
    pub(super) fn summary(&self) -> Markup {
        html! {
            @if !self.is_empty() {
                div.notice.bad role="alert" {
                    p { strong { "Nothing was changed." } @if let Some(text) = &self.whole { " " (text) } }
                    @if !self.fields.is_empty() {
                        ul { @for text in self.fields.values().flatten() { li { (text) } } }
                    }
                }
            }
        }
    }

    /// The status of the page that shows them.
    pub(super) fn status(&self) -> StatusCode {
        if self.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST }
    }
}

/// A labelled field with a hint beneath it.
pub(super) fn field(id: &str, label: &str, hint: &str, control: &Markup) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            (control)
            @if !hint.is_empty() { p.hint id={ (id) "-hint" } { (hint) } }
        }
    }
}

/// A field of one line.
pub(super) fn input(name: &str, label: &str, value: &str, hint: &str) -> Markup {
    field(
        name,
        label,
        hint,
        &html! {
            input id=(name) name=(name) value=(value) autocomplete="off" aria-describedby=[hint_id(name, hint)];
        },
    )
}

/// A field of several lines.
pub(super) fn textarea(name: &str, label: &str, value: &str, hint: &str) -> Markup {
    field(
        name,
        label,
        hint,
        &html! {
            textarea id=(name) name=(name) rows="3" spellcheck="false" aria-describedby=[hint_id(name, hint)] { (value) }
        },
    )
}

fn hint_id(name: &str, hint: &str) -> Option<String> {
    (!hint.is_empty()).then(|| format!("{name}-hint"))
}

/// Text to take along, with a button that copies it.
pub(super) fn copyable(label: &str, text: &str) -> Markup {
    html! {
        span.copyable {
            code { (text) }
            button.small type="button" data-copy=(text) aria-label={ "Copy " (label) } { "Copy" }
        }
    }
}

/// Something that is done only after a second look: opens in place, and works without a script.
pub(super) fn guarded(summary: &str, body: &Markup) -> Markup {
    html! { details.guarded { summary.button.small { (summary) } div.panel { (body) } } }
}

/// A list that has nothing in it, and what to do about it.
pub(super) fn empty(title: &str, text: &Markup) -> Markup {
    html! { div.empty { p { strong { (title) } } p { (text) } } }
}

/// A table that scrolls sideways where there is no room for it.
pub(super) fn table(label: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll role="group" aria-label=(label) tabindex="0" {
            table { thead { tr { @for column in columns { th scope="col" { (column) } } } } tbody { (rows) } }
        }
    }
}

/// An id in its first digits, whole when pointed at.
pub(super) fn short(id: &str) -> Markup {
    html! { code title=(id) { (id.get(..8).unwrap_or(id)) } }
}

/// A list that follows what happens, from `path`, for as long as nobody is busy in it and the switch is on.
pub(super) fn live(path: &str, list: &Markup) -> Markup {
    html! { div id="live" hx-get=(path) hx-trigger="every 5s" hx-swap="outerHTML" { (list) } }
}

/// The switch of [`live`]; only a script can follow.
pub(super) fn follow() -> Markup {
    html! { label.check data-follow hidden { input type="checkbox" checked; " Follow what happens" } }
}

/// The way to the next page of a list.
pub(super) fn more(path: &str, query: &[(&str, &str)], next: Option<&str>) -> Markup {
    let Some(next) = next else { return PreEscaped(String::new()) };
    html! { p { a.button href=(link(path, query, Some(next))) { "Next page" } } }
}

/// A path with a query.
pub(super) fn link(path: &str, query: &[(&str, &str)], next: Option<&str>) -> String {
    let given = query.iter().copied().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = given.chain(next.map(|next| ("cursor", next))).collect();
    if pairs.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{query}")
}

/// One segment of a path.
pub(super) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A refusal's text as a sentence.
pub(super) fn sentence(error: &str) -> String {
    let mut letters = error.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if error.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_not_every_node_has_confirmed_is_not_said_to_be_all_over() {
        let said = |query: &str| done(&Form::parse(query.as_bytes())).into_string();
        assert!(!said("done=session-ended").contains("confirmed"));
        assert!(said("done=session-ended&unconfirmed=1").contains("The session is over."));
        assert!(
            said("done=session-ended&unconfirmed=1").contains("Not every node of this server has confirmed it yet.")
        );
        assert_eq!(said("unconfirmed=1"), "");
    }

    #[test]
    fn what_is_shown_is_escaped() {
        let shown = input("name", "Name", "\"><b>", "").into_string() + &copyable("it", "\"&").into_string();
        assert!(
            shown.contains("value=\"&quot;&gt;&lt;b&gt;\"") && shown.contains("data-copy=\"&quot;&amp;\""),
            "{shown}"
        );
    }

    #[test]
    fn links_carry_what_is_given() {
        assert_eq!(link("/a", &[("x", ""), ("y", "a b&")], None), "/a?y=a+b%26");
        assert_eq!(link("/a", &[], Some("7")), "/a?cursor=7");
        assert_eq!(link("/a", &[("x", "")], None), "/a");
        assert_eq!(segment("a/b?"), "a%2Fb%3F");
    }
}
