//! Admins: their sign-ins, themselves and their second factor.

use serde_json::{Value, json};

use super::{NOBODYS, refused_in_the_end};
use crate::answers::book::{Book, By, secret};
use crate::harness::{PASSWORD, note_secret, text};
use crate::totp::code_at;

const ANOTHER: &str = "CANARY-another-one-2";

pub(in crate::answers) fn tell(book: &mut Book) {
    book.name(PASSWORD, "password");
    book.name(ANOTHER, "another password");
    sign_in(book);
    let (id, developer) = manage(book);
    let by_jo = [("Admin-Token", developer.as_str())];
    by_oneself(book, By::Headers(&by_jo));
    second_factor(book, By::Headers(&by_jo));

    let remove = "DELETE /v1/admins/{id}";
    book.ask("An admin is removed", remove, &[&id], By::Admin, Value::Null);
    book.ask("again", remove, &[&id], By::Admin, Value::Null);
    let guess = || book.server.post("/v1/admin-sessions").send(json!({"username": "admin", "password": "wrong"}));
    let throttled = refused_in_the_end(guess);
    book.note("Whoever guessed often waits", "POST /v1/admin-sessions", "nobody", &throttled);
}

fn sign_in(book: &mut Book) {
    let right = json!({"username": "admin", "password": PASSWORD});
    for path in ["/v1/admin-sessions", "/v1/adminsessions"] {
        let (open, end) = (&format!("POST {path}"), &format!("DELETE {path}"));
        let opened = book.ask("An admin signs in", open, &[], By::Nobody, right.clone());
        let token = secret(&opened, "token");
        book.name(token.clone(), "another Admin-Token");
        book.ask("with a wrong password", open, &[], By::Nobody, json!({"username": "admin", "password": "wrong"}));
        book.ask("with nothing", open, &[], By::Nobody, json!({}));
        let by = [("Admin-Token", token.as_str())];
        book.ask("signs out", end, &[], By::Headers(&by), Value::Null);
        book.ask("again", end, &[], By::Headers(&by), Value::Null);
        book.ask("as no admin", end, &[], By::Secret, Value::Null);
    }
    let token = book.server.setup_token.clone();
    book.name(token.clone(), "setup token");
    let by_link = json!({"setupToken": token});
    let opened = book.ask("by the setup link", "POST /v1/admin-sessions", &[], By::Nobody, by_link);
    book.name(secret(&opened, "token"), "a third Admin-Token");
}

/// What an owner does with others: the id and Admin-Token of one that was made.
fn manage(book: &mut Book) -> (String, String) {
    let jo = |password: &str| json!({"username": "jo", "password": password, "role": "developer", "currentPassword": PASSWORD});
    let create = "POST /v1/admins";
    let made = book.ask("An admin is made", create, &[], By::Admin, jo(PASSWORD));
    let id = text(&made["id"]);
    book.name(id.clone(), "jo");
    book.ask("of a name that is taken", create, &[], By::Admin, jo(PASSWORD));
    book.ask("with a short password", create, &[], By::Admin, jo("short"));
    book.ask("without anything", create, &[], By::Admin, json!({}));
    book.ask("by a backend", create, &[], By::Secret, jo(PASSWORD));
    let developer = book.server.admin_token("jo");
    book.name(developer.clone(), "jo's Admin-Token");
    book.ask("by one who may not", create, &[], By::Headers(&[("Admin-Token", &developer)]), jo(PASSWORD));
    let list = book.ask("Admins are listed", "GET /v1/admins", &[], By::Admin, Value::Null);
    let owner = text(&list[0]["id"]);
    book.name(owner.clone(), "the owner");
    book.ask("to nobody", "GET /v1/admins", &[], By::Nobody, Value::Null);
    for method in ["PUT", "PATCH"] {
        let update = &format!("{method} /v1/admins/{{id}}");
        let to = |role: &str, password: &str| json!({"role": role, "currentPassword": password});
        book.ask("An admin is changed", update, &[&id], By::Admin, to("read-only", PASSWORD));
        book.ask("the last owner", update, &[&owner], By::Admin, to("developer", PASSWORD));
        book.ask("with a wrong password", update, &[&id], By::Admin, to("owner", "wrong"));
        book.ask("to what is no role", update, &[&id], By::Admin, to("root", PASSWORD));
        book.ask("one that is none", update, &[NOBODYS], By::Admin, to("developer", PASSWORD));
    }
    book.ask("The last owner is removed", "DELETE /v1/admins/{id}", &[&owner], By::Admin, Value::Null);
    (id, developer)
}

fn by_oneself(book: &mut Book, by: By<'_>) {
    book.ask("An admin reads who it is", "GET /v1/admins/me", &[], by, Value::Null);
    book.ask("a backend", "GET /v1/admins/me", &[], By::Secret, Value::Null);
    let change = "PUT /v1/admins/me/password";
    let to = |present: &str, new: &str| json!({"password": present, "newPassword": new});
    book.ask("A password is changed", change, &[], by, to(PASSWORD, ANOTHER));
    book.ask("with a wrong one", change, &[], by, to("wrong", PASSWORD));
    book.ask("to a short one", change, &[], by, to(ANOTHER, "short"));
}

fn second_factor(book: &mut Book, by: By<'_>) {
    let (enrol, confirm, give_up) = ("POST /v1/admins/me/totp", "PUT /v1/admins/me/totp", "DELETE /v1/admins/me/totp");
    let password = json!({"password": ANOTHER});
    let with = |code: &str| json!({"password": ANOTHER, "code": code});
    book.ask("A second factor is confirmed that is none", confirm, &[], by, json!({"code": "123456"}));
    book.ask("is given up", give_up, &[], by, with("123456"));
    book.ask("is enrolled without the password", enrol, &[], by, json!({}));
    let enrolled = book.ask("is enrolled", enrol, &[], by, password.clone());
    let shared = secret(&enrolled, "secret");
    let code = code_at(&shared, book.server.broker.now().plus_secs(1));
    book.name(code.clone(), "code");
    book.ask("is confirmed by a wrong code", confirm, &[], by, json!({"code": "000000"}));
    let codes = book.ask("is confirmed", confirm, &[], by, json!({"code": code}));
    let codes: Vec<String> = codes["recoveryCodes"].as_array().unwrap().iter().map(text).collect();
    for code in &codes {
        note_secret(code);
        book.name(code.clone(), "recovery code");
    }
    book.ask("is enrolled again", enrol, &[], by, password);
    let signed = |code: Option<&str>| json!({"username": "jo", "password": ANOTHER, "code": code});
    let open = "POST /v1/admin-sessions";
    book.ask("An admin with a second factor signs in without it", open, &[], By::Nobody, signed(None));
    book.ask("and with it", open, &[], By::Nobody, signed(Some(&codes[0])));
    book.ask("A second factor is given up", give_up, &[], by, with(&codes[1]));
    book.ask("by a backend", give_up, &[], By::Secret, with(&codes[2]));
}
