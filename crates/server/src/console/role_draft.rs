//! A role while it is edited: reads its permissions from the form's switches or from JSON, and keeps the two in step. It
//! also answers whether the role permits something.

use std::collections::BTreeMap;

use maud::{Markup, html};
use respoke_core::ops::RULES_MAX;
use respoke_core::role::{ConferenceRule, Events, GroupRule, Groups, Permissions};
use respoke_wire::body::permissions;

use super::form::Form;
use super::layout::{Errors, field, input, textarea};

/// The switches of a group rule: field, what it permits.
const GROUP_SWITCHES: [(&str, &str); 6] = [
    ("create", "Create"),
    ("destroy", "Destroy"),
    ("getsubscribers", "See members"),
    ("publish", "Publish"),
    ("subscribe", "Join"),
    ("unsubscribe", "Leave"),
];
const CONFERENCE_SWITCHES: [(&str, &str); 3] =
    [("join", "Join"), ("destroy", "Destroy"), ("removeparticipants", "Remove participants")];

/// A pattern and its switches each.
type Rows = Vec<(String, Vec<bool>)>;

/// A role as it stands in the editor.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) permissions: Permissions,
    /// The JSON as it was typed, where it cannot be read.
    typed_json: Option<String>,
    /// The rows as they were typed, also those that have no pattern yet or one that another has.
    rules: Rows,
    conferences: Rows,
    pub(super) errors: Errors,
    /// The group that the preview is about.
    pub(super) preview: String,
}

impl Draft {
    /// A stored role, or what a new one begins with.
    pub(super) fn of(name: String, permissions: Permissions) -> Self {
        Self {
            name,
            rules: group_rows(&permissions.groups.rules),
            conferences: conference_rows(&permissions.conferences),
            permissions,
            typed_json: None,
            errors: Errors::default(),
            preview: String::new(),
        }
    }

    /// What the switches say.
    pub(super) fn of_switches(form: &Form) -> Self {
        let mut draft = Self::of(form.text("name").to_owned(), Permissions::default());
        form.text("preview").clone_into(&mut draft.preview);
        let on = |name: &str| form.has(name).then_some(true);
        draft.rules = typed_rows(form, "rule", &GROUP_SWITCHES, &mut draft.errors);
        draft.conferences = typed_rows(form, "conference", &CONFERENCE_SWITCHES, &mut draft.errors);
        for (pattern, switches) in draft.rules.iter().filter(|(pattern, _)| !pattern.is_empty()) {
            if pattern == "list" {
                draft.errors.add("rule", "A rule cannot be named “list”: that word permits listing groups.");
            } else if draft.permissions.groups.rules.insert(pattern.clone(), group_rule(switches)).is_some() {
                draft.errors.add("rule", &two_rules(pattern));
            }
        }
        for (pattern, switches) in draft.conferences.iter().filter(|(pattern, _)| !pattern.is_empty()) {
            if draft.permissions.conferences.insert(pattern.clone(), conference_rule(switches)).is_some() {
                draft.errors.add("conference", &two_rules(pattern));
            }
        }
        match form.text("add") {
            "rule" => draft.rules.push((String::new(), vec![false; GROUP_SWITCHES.len()])),
            "conference" => draft.conferences.push((String::new(), vec![false; CONFERENCE_SWITCHES.len()])),
            _ => {}
        }
        draft.permissions.groups.list = on("list");
        draft.permissions.events = Events { subscribe: on("events.subscribe"), unsubscribe: on("events.unsubscribe") };
        draft.permissions.media_relay = form.has("mediaRelay");
        draft.permissions.pstn_out = form.lines("pstnOut");
        draft.permissions.caller_ids = form.lines("callerIds");
        draft
    }

    /// What the JSON says; as the switches say it where it cannot be read.
    pub(super) fn of_json(form: &Form) -> Self {
        let text = form.raw("json");
        match permissions::read(text) {
            Ok(permissions) if permissions.groups.rules.len() + permissions.conferences.len() > RULES_MAX => {
                let mut draft = Self::of_switches(form);
                draft.typed_json = Some(text.to_owned());
                draft.errors.add("json", &too_many());
                draft
            }
            Ok(permissions) => {
                let mut draft = Self::of(form.text("name").to_owned(), permissions);
                form.text("preview").clone_into(&mut draft.preview);
                draft
            }
            Err(error) => {
                let mut draft = Self::of_switches(form);
                draft.typed_json = Some(text.to_owned());
                draft.errors.add("json", &format!("The JSON cannot be read: {error}."));
                draft
            }
        }
    }

    /// Refuses to save rows that permit something and do not say where.
    pub(super) fn refuse_blank_rows(mut self) -> Self {
        let blank = |(pattern, switches): &(String, Vec<bool>)| pattern.is_empty() && switches.contains(&true);
        if self.rules.iter().any(blank) {
            self.errors.add("rule", "A rule has no name or pattern. Say which groups it is for, or remove it.");
        }
        if self.conferences.iter().any(blank) {
            self.errors.add("conference", "A conference rule has no name or pattern. Give it one, or remove it.");
        }
        self
    }

    /// The JSON, laid out.
    fn json(&self) -> String {
        match &self.typed_json {
            Some(text) => text.clone(),
            None => serde_json::to_string_pretty(&self.permissions).unwrap_or_default(),
        }
    }

    /// The switches. `path` takes the draft after each change.
    pub(super) fn switches(&self, path: &str) -> Markup {
        let Permissions { groups: Groups { list, .. }, events, media_relay, pstn_out, caller_ids, .. } =
            &self.permissions;
        html! {
            div id="switches" {
                fieldset {
                    legend { "Groups" }
                    label.check { input type="checkbox" name="list" checked[*list == Some(true)]; " List the app's groups" }
                    p.hint { "A rule is for one group, for all that begin alike (" code { "team-*" } "), or for every group (" code { "*" } "). The longest that matches counts, alone." }
                    (rule_rows(path, "rule", &GROUP_SWITCHES, &self.rules))
                    button.small name="add" value="rule" formaction=(path) formnovalidate { "Add a rule" }
                }
                fieldset {
                    legend { "Media" }
                    label.check { input type="checkbox" name="mediaRelay" checked[*media_relay]; " Use the media relay (TURN)" }
                }
                details open[*events != Events::default() || !pstn_out.is_empty() || !caller_ids.is_empty() || !self.conferences.is_empty()] {
                    summary { "Events, phones, conferences" }
                    p.hint { "Kept for existing programs. This server has no telephone gateway and no conferences." }
                    label.check { input type="checkbox" name="events.subscribe" checked[events.subscribe == Some(true)]; " Subscribe to app events" }
                    label.check { input type="checkbox" name="events.unsubscribe" checked[events.unsubscribe == Some(true)]; " Unsubscribe from app events" }
                    (textarea("pstnOut", "Numbers that may be called", &pstn_out.join("\n"), "One a line; * for any."))
                    (textarea("callerIds", "Numbers that may be shown", &caller_ids.join("\n"), "One a line."))
                    (rule_rows(path, "conference", &CONFERENCE_SWITCHES, &self.conferences))
                    button.small name="add" value="conference" formaction=(path) formnovalidate { "Add a conference rule" }
                }
            }
        }
    }

    /// The JSON beside them.
    pub(super) fn json_area(&self, path: &str) -> Markup {
        let rows = self.json().lines().count().clamp(12, 30);
        html! {
            div id="json-area" {
                (field("json", "As JSON", "The same permissions, as POST /v1/roles takes them.", &html! {
                    textarea.code id="json" name="json" rows=(rows) spellcheck="false" aria-describedby="json-hint"
                        hx-post={ (path) "?part=switches" } hx-trigger="change" hx-target="#switches" hx-swap="outerHTML"
                        hx-include="closest form" { (self.json()) }
                }))
            }
        }
    }

    /// What a role of these permissions may do in the group asked about.
    pub(super) fn verdict(&self) -> Markup {
        html! { div id="verdict" aria-live="polite" { (self.verdict_text()) } }
    }

    pub(super) fn verdict_text(&self) -> Markup {
        html! {
                @if !self.preview.is_empty() {
                    @match self.permissions.groups.pattern_for(&self.preview) {
                        None => p.notice.bad {
                            strong { "No." } " It may not publish to “" (self.preview) "” nor do anything else there: no rule matches."
                        },
                        Some((pattern, rule)) => {
                            @let may = rule.publish == Some(true);
                            p class={ "notice " (if may { "good" } else { "bad" }) } {
                                strong { (if may { "Yes." } else { "No." }) }
                                " An endpoint with this role " (if may { "may" } else { "may not" }) " publish to “" (self.preview)
                                "”, by the rule “" code { (pattern) } "”."
                            }
                            ul.verdicts {
                                @for ((_, label), switch) in GROUP_SWITCHES.iter().zip(group_switches(rule)) {
                                    li class=(if switch { "yes" } else { "no" }) { (label) ": " (if switch { "yes" } else { "no" }) }
                                }
                            }
                        }
                    }
                }
        }
    }

    /// The question that [`Self::verdict`] answers.
    pub(super) fn question(&self, path: &str) -> Markup {
        html! {
            div.filter {
                (input("preview", "May an endpoint with this role publish to the group…", &self.preview, ""))
                button formaction=(path) formnovalidate hx-post={ (path) "?part=verdict" } hx-target="#verdict"
                    hx-swap="outerHTML" { "Ask" }
            }
        }
    }
}

fn group_switches(rule: GroupRule) -> [bool; 6] {
    let GroupRule { create, destroy, getsubscribers, publish, subscribe, unsubscribe } = rule;
    [create, destroy, getsubscribers, publish, subscribe, unsubscribe].map(|switch| switch == Some(true))
}

fn group_rule(switches: &[bool]) -> GroupRule {
    let mut on = switches.iter().map(|on| on.then_some(true));
    let mut next = || on.next().flatten();
    GroupRule {
        create: next(),
        destroy: next(),
        getsubscribers: next(),
        publish: next(),
        subscribe: next(),
        unsubscribe: next(),
    }
}

fn conference_rule(switches: &[bool]) -> ConferenceRule {
    let mut on = switches.iter().map(|on| on.then_some(true));
    let mut next = || on.next().flatten();
    ConferenceRule { join: next(), destroy: next(), removeparticipants: next() }
}

fn group_rows(rules: &BTreeMap<String, GroupRule>) -> Rows {
    rules.iter().map(|(pattern, rule)| (pattern.clone(), group_switches(*rule).to_vec())).collect()
}

fn conference_rows(rules: &BTreeMap<String, ConferenceRule>) -> Rows {
    let switches = |rule: &ConferenceRule| {
        [rule.join, rule.destroy, rule.removeparticipants].map(|switch| switch == Some(true)).to_vec()
    };
    rules.iter().map(|(pattern, rule)| (pattern.clone(), switches(rule))).collect()
}

/// The rows of a form but the one whose button to remove it was pressed. No more are read than a role may have.
fn typed_rows(form: &Form, stem: &str, switches: &[(&str, &str)], errors: &mut Errors) -> Rows {
    let rows = form.rows(stem);
    if rows.len() > RULES_MAX {
        errors.add(stem, &too_many());
    }
    let removed = form.given("remove");
    let names = rows.into_iter().take(RULES_MAX).map(|row| format!("{stem}.{row}"));
    let kept = names.filter(|row| removed != Some(row));
    let row = |row: String| {
        let on = switches.iter().map(|(switch, _)| form.has(&format!("{row}.{switch}"))).collect();
        (form.text(&format!("{row}.pattern")).to_owned(), on)
    };
    kept.map(row).collect()
}

fn too_many() -> String {
    format!("A role has {RULES_MAX} rules at most; further ones are not read.")
}

fn two_rules(pattern: &str) -> String {
    format!("There are two rules for “{pattern}”; only one would count.")
}

/// Rows of one pattern and its switches each.
fn rule_rows(path: &str, stem: &str, switches: &[(&str, &str)], rows: &Rows) -> Markup {
    html! {
        @for (at, (pattern, on)) in rows.iter().enumerate() {
            @let row = format!("{stem}.{at}");
            div.rule role="group" aria-label={ "Rule " (at + 1) } {
                div.rule-head {
                    input.pattern name={ (row) ".pattern" } value=(pattern) aria-label={ "Name or pattern of rule " (at + 1) }
                        placeholder="team-*" spellcheck="false" autocapitalize="none";
                    button.small name="remove" value=(row) formaction=(path) formnovalidate aria-label={ "Remove rule " (at + 1) } { "Remove" }
                }
                div.switches {
                    @for ((name, label), on) in switches.iter().zip(on) {
                        label.check { input type="checkbox" name={ (row) "." (name) } checked[*on]; " " (label) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCHES: &[u8] = b"name=member&list=on&mediaRelay=on&pstnOut=*%0A&rule.0.pattern=team-*&rule.0.publish=on&rule.0.subscribe=on&rule.3.pattern=&events.subscribe=on&conference.0.pattern=*&conference.0.join=on";

    #[test]
    fn switches_and_json_say_the_same() {
        let draft = Draft::of_switches(&Form::parse(SWITCHES));
        assert_eq!((draft.name.as_str(), draft.rules.len(), draft.errors.is_empty()), ("member", 2, true));
        let json = draft.json();
        let text = form_urlencoded::Serializer::new(String::new()).append_pair("json", &json).finish();
        let again = Draft::of_json(&Form::parse(text.as_bytes()));
        assert_eq!(again.permissions, draft.permissions);
        assert_eq!(again.json(), json);
        assert_eq!(draft.permissions.groups.rule_for("team-1").publish, Some(true));
        let shown = again.switches("/draft").into_string();
        assert!(shown.contains(r#"name="rule.0.publish" checked"#) && shown.contains(r#"value="team-*""#), "{shown}");
        assert!(!shown.contains(r#"name="rule.0.create" checked"#));
    }

    #[test]
    fn rows_are_added_and_removed() {
        let pressed = |button: &str| {
            let mut text = SWITCHES.to_vec();
            text.extend_from_slice(button.as_bytes());
            Draft::of_switches(&Form::parse(&text))
        };
        assert_eq!(pressed("&add=rule").rules.len(), 3);
        assert!(pressed("&remove=rule.0").permissions.groups.rules.is_empty());
        assert!(pressed("&remove=conference.0").permissions.conferences.is_empty());
    }

    #[test]
    fn two_rules_for_one_pattern_are_refused() {
        let draft = Draft::of_switches(&Form::parse(b"rule.0.pattern=a&rule.1.pattern=a"));
        assert!(draft.errors.summary().into_string().contains("two rules for “a”"));
        let draft = Draft::of_switches(&Form::parse(b"rule.0.pattern=list"));
        assert!(!draft.errors.is_empty());
    }

    #[test]
    fn what_is_refused_stays_as_it_was_typed() {
        let form = b"rule.0.pattern=a&rule.0.publish=on&rule.1.pattern=a&rule.2.pattern=&rule.2.create=on&conference.0.pattern=c&conference.1.pattern=c&conference.2.join=on";
        let draft = Draft::of_switches(&Form::parse(form)).refuse_blank_rows();
        let said = draft.errors.summary().into_string();
        for part in ["two rules for “a”", "two rules for “c”", "A rule has no name", "A conference rule has no name"]
        {
            assert!(said.contains(part), "{said}");
        }
        let shown = draft.switches("/draft").into_string();
        for part in [
            r#"name="rule.0.publish" checked"#,
            r#"name="rule.2.create" checked"#,
            r#"name="conference.2.join" checked"#,
        ] {
            assert!(shown.contains(part), "{part}");
        }
        let empty = Draft::of_switches(&Form::parse(b"rule.0.pattern=")).refuse_blank_rows();
        assert!(empty.errors.is_empty(), "a row that says nothing is not missed");
    }

    #[test]
    fn no_more_rules_are_read_than_a_role_may_have() {
        let text: Vec<_> = (0..=RULES_MAX).map(|row| format!("rule.{row}.pattern=p{row}")).collect();
        let json: Vec<_> = (0..=RULES_MAX).map(|row| format!("\"p{row}\":{{}}")).collect();
        let (text, json) = (text.join("&"), format!("{{\"groups\":{{{}}}}}", json.join(",")));
        let draft = Draft::of_switches(&Form::parse(text.as_bytes()));
        assert_eq!((draft.rules.len(), draft.errors.is_empty()), (RULES_MAX, false));
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("json", &json).finish();
        let draft = Draft::of_json(&Form::parse(form.as_bytes()));
        assert_eq!((draft.rules.len(), draft.errors.is_empty(), draft.json()), (0, false, json));
    }

    #[test]
    fn json_that_cannot_be_read_stays_as_it_was_typed() {
        let draft = Draft::of_json(&Form::parse(b"json=%7B%22groups%22&list=on"));
        assert!(!draft.errors.is_empty());
        assert_eq!(draft.json(), "{\"groups\"");
        assert_eq!(draft.permissions.groups.list, Some(true));
    }

    #[test]
    fn the_preview_names_the_rule() {
        let ask = |group: &str| {
            let form = format!("rule.0.pattern=*&rule.1.pattern=team-*&rule.1.publish=on&preview={group}");
            Draft::of_switches(&Form::parse(form.as_bytes())).verdict().into_string()
        };
        assert!(ask("team-1").contains("<strong>Yes.</strong>") && ask("team-1").contains("<code>team-*</code>"));
        assert!(ask("other").contains("<strong>No.</strong>") && ask("other").contains("<code>*</code>"));
        let none = Draft::of_switches(&Form::parse(b"preview=%3Cb%3E")).verdict().into_string();
        assert!(none.contains("no rule matches") && none.contains("&lt;b&gt;"), "{none}");
        assert!(!ask("").contains("notice"));
    }
}
