//! `/v1/admins`: roles, second factors, the setup link.

use std::sync::{Arc, Mutex};

use respoke_core::clock::Timestamp;
use respoke_core::ops::{Context, SignIn};
use respoke_core::secret::Secret;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, NOW, PASSWORD, Process, Server, data_folder, note_secret, text};
use crate::totp::code_at;

/// Makes an admin with a role and signs it in.
fn admin_of_role(server: &Server, owner: &str, username: &str, role: &str) -> (String, String) {
    let body = json!({"username": username, "password": PASSWORD, "role": role, "currentPassword": PASSWORD});
    let made = server.post("/v1/admins").admin(owner).send(body).ok();
    assert_eq!((&made["username"], &made["role"]), (&json!(username), &json!(role)));
    (text(&made["id"]), server.admin_token(username))
}

fn sign_in(client: &Client, body: Value) -> Answer {
    let answer = client.post("/v1/admin-sessions").send(body);
    if let Some(token) = answer.body["token"].as_str() {
        note_secret(token);
    }
    answer
}

#[test]
fn a_read_only_admin_reads_everything_and_changes_nothing() {
    let server = Server::start();
    let owner = server.admin_token("admin");
    let (_, reader) = admin_of_role(&server, &owner, "reader", "read-only");
    let app = &server.app;
    let session = server.session("alice");
    for path in [
        "/v1/apps",
        &format!("/v1/apps/{app}"),
        &format!("/v1/apps/{app}/secrets"),
        "/v1/roles",
        "/v1/tokens",
        "/v1/sessions",
        "/v1/bans",
        "/v1/connections",
        "/v1/groups",
        "/v1/audit",
        "/v1/admins",
        "/v1/admins/me",
    ] {
        let answer = server.get(path).admin(&reader).call();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(!answer.text.contains(&server.secret) && !answer.text.contains(&session), "{path}");
    }
    let secret = text(&server.get(&format!("/v1/apps/{app}/secrets")).admin(&reader).call().ok()[0]["id"]);
    let role = &server.role;
    for (method, path, body) in [
        ("POST", "/v1/apps", json!({"name": "x"})),
        ("PUT", &*format!("/v1/apps/{app}"), json!({"name": "x"})),
        ("DELETE", &format!("/v1/apps/{app}"), json!({})),
        ("POST", &format!("/v1/apps/{app}/secrets"), json!({"name": "x"})),
        ("POST", &format!("/v1/apps/{app}/secrets/{secret}/roll"), json!({})),
        ("DELETE", &format!("/v1/apps/{app}/secrets/{secret}"), json!({})),
        ("POST", "/v1/tokens", json!({"endpointId": "alice", "roleId": role})),
        ("PUT", "/v1/tokens", json!({"endpointId": "alice", "roleId": role})),
        ("DELETE", &format!("/v1/tokens/{}", server.mint("alice")), json!({})),
        ("DELETE", "/v1/sessions?all=true", json!({})),
        ("POST", "/v1/roles", json!({"name": "x"})),
        ("PUT", &format!("/v1/roles/{role}"), json!({"name": "x"})),
        ("DELETE", &format!("/v1/roles/{role}"), json!({})),
        ("PUT", "/v1/endpoints/alice/ban", json!({})),
        ("DELETE", "/v1/endpoints/alice/ban", json!({})),
        ("POST", "/v1/messages", json!({"to": "alice", "message": "x", "appId": app})),
        ("POST", "/v1/groups/chat/publish", json!({"message": "x"})),
        ("DELETE", "/v1/groups/chat", json!({})),
        ("POST", "/v1/admins", json!({"username": "x", "password": PASSWORD, "role": "owner"})),
        ("POST", "/oauth/revoke", json!({"token": session})),
    ] {
        let answer = server.request(method, path).admin(&reader).send(body);
        assert_eq!((answer.status, answer.body["code"].as_str()), (403, Some("forbidden")), "{method} {path}");
        assert!(answer.text.contains("read-only"), "{}", answer.text);
    }
    assert!(server.alive(&session));
}

#[test]
fn a_developer_works_on_apps_and_no_further() {
    let server = Server::start();
    let owner = server.admin_token("admin");
    let (id, developer) = admin_of_role(&server, &owner, "dev", "developer");
    let app = &format!("/v1/apps/{}", server.app);
    server.put(app).admin(&developer).send(json!({"name": "renamed"})).ok();
    server.post("/v1/tokens").admin(&developer).send(json!({"endpointId": "a", "roleId": server.role})).ok();
    server.post("/v1/apps").admin(&developer).send(json!({"name": "another"})).ok();
    let limits = json!({"limits": {"connections": 5}});
    server.put(app).admin(&developer).send(limits.clone()).refused(403, "forbidden");
    let named = json!({"name": "x", "limits": {"connections": 5}});
    server.post("/v1/apps").admin(&developer).send(named).refused(403, "forbidden");
    server.delete(app).admin(&developer).call().refused(403, "forbidden");
    let own = &format!("/v1/admins/{id}");
    server
        .put(own)
        .admin(&developer)
        .send(json!({"role": "owner", "currentPassword": PASSWORD}))
        .refused(403, "forbidden");
    server.delete(own).admin(&developer).call().refused(403, "forbidden");
    server.get("/v1/admins").secret().call().refused(403, "forbidden");
    server.get("/v1/admins").call().refused(401, "unauthenticated");
    server.put(app).admin(&owner).send(limits).ok();

    // A role changes at once, also for who is signed in already.
    server.put(own).admin(&owner).send(json!({"role": "read-only", "currentPassword": PASSWORD})).ok();
    server.put(app).admin(&developer).send(json!({"name": "again"})).refused(403, "forbidden");
    server.delete(own).admin(&owner).call().ok();
    server.get("/v1/apps").admin(&developer).call().refused(401, "unauthenticated");
}

#[test]
fn the_last_owner_stays() {
    let server = Server::start();
    let owner = server.admin_token("admin");
    let me = server.get("/v1/admins/me").admin(&owner).call().ok();
    assert_eq!((&me["role"], &me["secondFactor"]), (&json!("owner"), &json!(false)));
    let own = &format!("/v1/admins/{}", text(&me["id"]));
    server
        .put(own)
        .admin(&owner)
        .send(json!({"role": "developer", "currentPassword": PASSWORD}))
        .refused(409, "conflict");
    server.delete(own).admin(&owner).call().refused(409, "conflict");
    let (id, second) = admin_of_role(&server, &owner, "second", "owner");
    server.request("PATCH", own).admin(&second).send(json!({"role": "developer", "currentPassword": PASSWORD})).ok();
    server.delete(&format!("/v1/admins/{id}")).admin(&second).call().refused(409, "conflict");
    for body in [
        json!({"username": "second", "password": PASSWORD, "role": "owner", "currentPassword": PASSWORD}),
        json!({"username": "third", "password": PASSWORD, "role": "root", "currentPassword": PASSWORD}),
        json!({"username": "third", "password": "short", "role": "owner", "currentPassword": PASSWORD}),
        json!({"username": "third", "password": PASSWORD, "currentPassword": PASSWORD}),
    ] {
        assert!([400, 409].contains(&server.post("/v1/admins").admin(&second).send(body).status));
    }
}

#[test]
fn an_own_password_changes_with_the_present_one_and_ends_other_sign_ins() {
    const NEW: &str = "CANARY-another-one-2";
    note_secret(NEW);
    let server = Server::start();
    let (here, there) = (server.admin_token("admin"), server.admin_token("admin"));
    let change = |password: &str, new: &str| {
        let body = json!({"password": password, "newPassword": new});
        server.put("/v1/admins/me/password").admin(&here).send(body)
    };
    change("wrong", NEW).refused(401, "bad_login");
    change(PASSWORD, "short").refused(400, "invalid");
    change(PASSWORD, NEW).ok();
    server.get("/v1/apps").admin(&here).call().ok();
    server.get("/v1/apps").admin(&there).call().refused(401, "unauthenticated");
    sign_in(&server, json!({"username": "admin", "password": PASSWORD})).refused(401, "bad_login");
    let there = text(&sign_in(&server, json!({"username": "admin", "password": NEW})).ok()["token"]);
    server.delete("/v1/admin-sessions?everywhere=true").admin(&there).call().ok();
    for token in [here, there] {
        server.get("/v1/apps").admin(&token).call().refused(401, "unauthenticated");
    }
}

#[test]
fn guessing_a_password_while_signed_in_is_slowed_down_too() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let guess = || server.post("/v1/admins/me/totp").admin(&admin).send(json!({"password": "wrong"}));
    for _ in 0..4 {
        guess().refused(401, "bad_login");
        // What was refused before the code was looked at forgives nothing.
        server.put("/v1/admins/me/totp").admin(&admin).send(json!({"code": "000000"})).refused(409, "conflict");
    }
    guess().refused(401, "bad_login");
    guess().refused(429, "throttled");
    server
        .post("/v1/admin-sessions")
        .send(json!({"username": "admin", "password": PASSWORD}))
        .refused(429, "throttled");
}

#[test]
fn a_second_factor_is_asked_for_once_it_was_proved() {
    const NEW: &str = "CANARY-another-one-3";
    note_secret(NEW);
    let server = Server::start();
    let admin = server.admin_token("admin");
    let totp = |method: &str, body: Value| server.request(method, "/v1/admins/me/totp").admin(&admin).send(body);
    let passed = std::cell::Cell::new(0);
    let at = |secs: i64| {
        server.clock.advance_secs(secs - passed.replace(secs));
        NOW.plus_secs(secs)
    };
    totp("PUT", json!({"code": "123456"})).refused(409, "conflict");
    totp("POST", json!({})).refused(400, "invalid");
    let enrolled = totp("POST", json!({"password": PASSWORD})).ok();
    let secret = text(&enrolled["secret"]);
    note_secret(&secret);
    assert!(text(&enrolled["uri"]).starts_with("otpauth://totp/respoked:admin?secret="));
    let code = |at: Timestamp| code_at(&secret, at);
    let with = |code: &str| sign_in(&server, json!({"username": "admin", "password": PASSWORD, "code": code}));
    let plain = json!({"username": "admin", "password": PASSWORD});
    sign_in(&server, plain.clone()).ok();
    totp("PUT", json!({"code": "000000"})).refused(401, "bad_login");
    let codes = totp("PUT", json!({"code": code(at(0))})).ok()["recoveryCodes"].clone();
    let codes: Vec<String> = codes.as_array().unwrap().iter().map(text).collect();
    for code in &codes {
        note_secret(code);
    }
    assert_eq!(codes.len(), 10);
    assert_eq!(server.get("/v1/admins/me").admin(&admin).call().ok()["secondFactor"], true);
    totp("POST", json!({"password": PASSWORD})).refused(409, "conflict");

    sign_in(&server, plain.clone()).refused(401, "second_factor_required");
    let wrong = json!({"username": "admin", "password": "wrong", "code": code(at(0))});
    sign_in(&server, wrong).refused(401, "bad_login");
    with(&code(at(0))).refused(401, "bad_login");
    with(&code(at(30))).ok();
    with(&code(at(30))).refused(401, "bad_login");
    let early = code(NOW.plus_secs(90));
    at(60);
    with(&early).ok();
    with(&code(at(60))).refused(401, "bad_login");
    with(&codes[0].to_uppercase()).ok();
    with(&codes[0]).refused(401, "bad_login");

    // A new password of one's own keeps the second factor, ...
    let body = json!({"password": PASSWORD, "newPassword": NEW});
    server.put("/v1/admins/me/password").admin(&admin).send(body).ok();
    let renewed = |code: &str| sign_in(&server, json!({"username": "admin", "password": NEW, "code": code}));
    renewed(&code(at(300))).ok();
    totp("DELETE", json!({"password": NEW, "code": "000000"})).refused(401, "bad_login");
    totp("DELETE", json!({"password": NEW, "code": codes[1]})).ok();
    sign_in(&server, json!({"username": "admin", "password": NEW})).ok();
    renewed(&codes[2]).ok();
    totp("DELETE", json!({"password": NEW, "code": codes[2]})).refused(404, "not_found");

    let rows = server.get("/v1/audit").admin(&admin).call().ok();
    let actions: Vec<_> = rows.as_array().unwrap().iter().map(|row| text(&row["action"])).collect();
    for action in ["admin.second_factor_added", "admin.second_factor_removed", "admin.password_changed"] {
        assert!(actions.iter().any(|seen| seen == action), "{action} is not in {actions:?}");
    }
}

#[test]
fn an_owner_helps_who_lost_password_and_device() {
    const RESET: &str = "CANARY-given-anew-4";
    note_secret(RESET);
    let server = Server::start();
    let owner = server.admin_token("admin");
    let (id, lost) = admin_of_role(&server, &owner, "lost", "developer");
    let enrolled = server.post("/v1/admins/me/totp").admin(&lost).send(json!({"password": PASSWORD})).ok();
    let code = code_at(&text(&enrolled["secret"]), NOW);
    let codes = server.put("/v1/admins/me/totp").admin(&lost).send(json!({"code": code})).ok();
    for code in codes["recoveryCodes"].as_array().unwrap() {
        note_secret(&text(code));
    }
    server
        .put(&format!("/v1/admins/{id}"))
        .admin(&owner)
        .send(json!({"password": RESET, "currentPassword": PASSWORD}))
        .ok();
    server.get("/v1/apps").admin(&lost).call().refused(401, "unauthenticated");
    sign_in(&server, json!({"username": "lost", "password": RESET})).ok();
    // The own password needs the present one.
    let me = text(&server.get("/v1/admins/me").admin(&owner).call().ok()["id"]);
    server
        .put(&format!("/v1/admins/{me}"))
        .admin(&owner)
        .send(json!({"password": RESET, "currentPassword": PASSWORD}))
        .refused(409, "conflict");
}

#[test]
fn the_setup_link_signs_in_once() {
    let (data, _folder) = data_folder();
    let server = Process::spawn(&data, &[]);
    let link = server.greeting.split_once("/console/setup#").expect("the greeting has the link").1;
    let token = link.split_whitespace().next().unwrap();
    note_secret(token);
    let setup = |token: &str| sign_in(&server, json!({"setupToken": token}));
    setup("00000000-0000-4000-8000-000000000000").refused(401, "bad_login");
    let admin = text(&setup(token).ok()["token"]);
    assert_eq!(server.get("/v1/admins/me").admin(&admin).call().ok()["username"], "owner");
    setup(token).refused(401, "bad_login");
}

#[test]
fn the_setup_link_waits_a_day() {
    let server = Server::start();
    let token = server.setup_token.clone();
    server.clock.advance_secs(24 * 3_600);
    sign_in(&server, json!({"setupToken": token})).refused(401, "bad_login");
}

#[test]
fn wrong_setup_tokens_are_slowed_down_and_fill_no_log() {
    let server = Server::start_with(|config| config.failed_credentials_free = 3);
    let wrong = || sign_in(&server, json!({"setupToken": "00000000-0000-4000-8000-000000000000"}));
    for _ in 0..3 {
        wrong().refused(401, "bad_login");
    }
    wrong().refused(429, "throttled");
    let admin = sign_in(&server, json!({"setupToken": server.setup_token})).ok();
    let rows = server.get("/v1/audit?action=admin.sign_in_failed").admin(&text(&admin["token"])).call().ok();
    assert_eq!(rows, json!([]));
}

#[test]
fn who_found_a_screen_unlocked_does_not_take_the_account_over() {
    let server = Server::start();
    let owner = server.admin_token("admin");
    let (id, _) = admin_of_role(&server, &owner, "second", "developer");
    let second = &format!("/v1/admins/{id}");
    let new = json!({"username": "third", "password": PASSWORD, "role": "owner"});
    let send = |method: &str, path: &str, body: &Value, typed: Option<&str>| {
        let mut body = body.clone();
        if let Some(typed) = typed {
            body["currentPassword"] = json!(typed);
        }
        server.request(method, path).admin(&owner).send(body)
    };
    let (role, password) = (json!({"role": "owner"}), json!({"password": PASSWORD}));
    for (method, path, body) in [("POST", "/v1/admins", &new), ("PUT", second, &role), ("PUT", second, &password)] {
        send(method, path, body, None).refused(400, "invalid");
        send(method, path, body, Some("wrong")).refused(401, "bad_login");
    }
    let admins = server.get("/v1/admins").admin(&owner).call().ok();
    assert_eq!((admins.as_array().unwrap().len(), &admins[1]["role"]), (2, &json!("developer")));
    send("POST", "/v1/admins", &new, Some(PASSWORD)).ok();
    // Guessing waits as signing in does.
    let refused: Vec<_> = (0..6).map(|_| send("PUT", second, &role, Some("wrong")).status).collect();
    assert_eq!(refused, [401, 401, 401, 401, 401, 429]);
}

/// Gives an admin a second factor, and returns its secret.
fn take_up_second_factor(server: &Server, admin: &str) -> String {
    let enrolled = server.post("/v1/admins/me/totp").admin(admin).send(json!({"password": PASSWORD})).ok();
    let secret = text(&enrolled["secret"]);
    note_secret(&secret);
    let confirmed = server.put("/v1/admins/me/totp").admin(admin).send(json!({"code": code_at(&secret, NOW)})).ok();
    for code in confirmed["recoveryCodes"].as_array().unwrap() {
        note_secret(&text(code));
    }
    secret
}

#[test]
fn guessing_codes_with_the_right_password_waits_long_and_names_the_admin() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    take_up_second_factor(&server, &admin);
    let with =
        |password: &str, code: &str| sign_in(&server, json!({"username": "admin", "password": password, "code": code}));
    with("wrong", "000000").refused(401, "bad_login");
    for _ in 0..4 {
        with(PASSWORD, "000000").refused(401, "bad_login");
    }
    let rows = server.get("/v1/audit?action=admin.sign_in_failed").admin(&admin).call().ok();
    let objects: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["object"].clone()).collect();
    assert_eq!(objects, [json!("admin"), json!("admin"), json!("admin"), json!("admin"), json!("")]);
    // The password's own wait comes first.
    with(PASSWORD, "000000").refused(429, "throttled");
}

#[test]
fn a_new_second_factor_ends_other_sign_ins() {
    let server = Server::start();
    let (here, there) = (server.admin_token("admin"), server.admin_token("admin"));
    server.get("/v1/apps").admin(&there).call().ok();
    take_up_second_factor(&server, &here);
    server.get("/v1/apps").admin(&here).call().ok();
    server.get("/v1/apps").admin(&there).call().refused(401, "unauthenticated");
}

#[test]
fn a_clock_set_back_refuses_codes_and_the_log_says_why() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let enrolled = server.post("/v1/admins/me/totp").admin(&admin).send(json!({"password": PASSWORD})).ok();
    let secret = text(&enrolled["secret"]);
    note_secret(&secret);
    let codes = server.put("/v1/admins/me/totp").admin(&admin).send(json!({"code": code_at(&secret, NOW)})).ok();
    let recovery = text(&codes["recoveryCodes"][0]);
    note_secret(&recovery);
    server.clock.advance_secs(-3_600);
    let code = code_at(&secret, NOW.plus_secs(-3_600));
    let with = |code: &str| json!({"username": "admin", "password": PASSWORD, "code": code});
    sign_in(&server, with(&code)).refused(401, "bad_login");

    // The same once more, here, where the log can be listened to.
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    let listening = tracing::subscriber::set_default(subscriber);
    let signing_in = |code: &str| {
        let (username, password) = (Some("admin".to_owned()), Some(Secret::new(PASSWORD.to_owned())));
        let code = Some(Secret::new(code.to_owned()));
        let request = SignIn { username, password, code, ..SignIn::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.broker.sign_in(request, None, &Context::internal()))
    };
    assert!(signing_in(&code).is_err());
    let said = lines.text();
    assert!(said.contains("clock") && said.contains("behind_secs=3570"), "{said}");
    for secret in [secret.as_str(), code.as_str(), PASSWORD] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(signing_in("000000").is_err());
    assert_eq!(lines.text(), said, "of a wrong code it has nothing to say");
    drop(listening);

    sign_in(&server, with(&recovery)).ok();
    server.clock.advance_secs(3_600 + 30);
    sign_in(&server, with(&code_at(&secret, NOW.plus_secs(30)))).ok();
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
