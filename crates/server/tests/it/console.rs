//! `/console`, without a browser: the cookie, and the pages that are refused.

use respoked::config::PublicUrl;
use serde_json::json;

use crate::harness::{Answer, Client, PASSWORD, Process, Server, data_folder, eventually, note_secret};

const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) fn sign_in(client: &Client, password: &str) -> Answer {
    let form = format!("username=admin&password={password}&next=/console/audit");
    let request = client.post("/console/sign-in").header("Content-Type", FORM);
    request.header("Sec-Fetch-Site", "same-origin").raw(form.as_bytes())
}

/// The cookie of a sign-in, as a browser would send it back.
pub(crate) fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap();
    let cookie = set.split(';').next().unwrap().to_owned();
    note_secret(cookie.split_once('=').unwrap().1);
    cookie
}

#[test]
fn the_printed_link_signs_in_once() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]);
    let (link, _) = process.greeting.split_once("signs you in").unwrap();
    let (address, token) = link.trim().rsplit_once('#').unwrap();
    note_secret(token);
    let path = address.rsplit_once(&process.url).unwrap().1;
    let page = process.get(path).call();
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let begin = |site: &str| {
        let request = process.post(path).header("Content-Type", FORM).header("Sec-Fetch-Site", site);
        request.raw(format!("token={token}").as_bytes())
    };
    assert_eq!(begin("cross-site").status, 403);
    let cookie = cookie(&begin("same-origin"));
    assert_eq!(process.get("/console/apps").header("Cookie", &cookie).call().status, 200);
    let again = begin("same-origin");
    assert_eq!((again.status, again.header("set-cookie")), (401, None));
}

#[test]
fn no_cookie_of_another_program_signs_anybody_out() {
    let server = Server::start();
    let own = cookie(&sign_in(&server, PASSWORD));
    let page = |cookies: &[&str]| {
        let request = cookies.iter().fold(server.get("/console/apps"), |request, line| request.header("Cookie", line));
        request.call().status
    };
    let name = own.split_once('=').unwrap().0;
    for others in [
        format!("{own}; city=Z\u{fc}rich"),
        format!("Z\u{fc}rich=\u{fc}; {own}"),
        format!("=; ; \"; a=\"b; {own}"),
        // Set for another path by somebody else, and sent along, before it or behind it.
        format!("{name}=other; {own}"),
        format!("{name}=\u{fc}; {name}=; {own}; {name}=other"),
    ] {
        assert_eq!(page(&[&others]), 200, "{}", others.replace(&own, "OWN"));
    }
    assert_eq!(page(&["city=Z\u{fc}rich", &own]), 200);
    assert_eq!(page(&[&own, "\u{fc}"]), 200);
    assert_eq!(page(&["city=Z\u{fc}rich"]), 303);
    assert_eq!(page(&[&format!("{name}=other; {name}=another")]), 303);
}

#[test]
fn the_cookie_is_secure_if_the_clients_own_hop_is() {
    let server = Server::start_with(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let secure = |headers: &[(&str, &str)]| {
        let request =
            server.post("/console/sign-in").header("Content-Type", FORM).header("Sec-Fetch-Site", "same-origin");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.raw(format!("username=admin&password={PASSWORD}").as_bytes());
        cookie(&answer);
        answer.header("set-cookie").unwrap().contains("; Secure")
    };
    let (protocol, address) = ("X-Forwarded-Proto", "X-Forwarded-For");
    for encrypted in ["https", "https, http", "https,https", "HTTPS , http"] {
        assert!(secure(&[(protocol, encrypted)]), "{encrypted}");
        assert!(secure(&[(protocol, encrypted), (address, "198.51.100.7, 127.0.0.2")]), "{encrypted}");
    }
    assert!(secure(&[(protocol, "https"), (protocol, "http")]));
    for plain in ["http", "http, https", ""] {
        assert!(!secure(&[(protocol, plain)]), "{plain}");
    }
    assert!(
        !secure(&[(protocol, "https, http"), (address, "198.51.100.1, 198.51.100.7")]),
        "the client wrote the first"
    );
}

#[test]
fn a_sign_in_leads_on_to_the_page_that_was_asked_for() {
    let server = Server::start();
    let asked = server.get("/console/audit?action=app.created").call();
    assert_eq!(asked.status, 303);
    assert_eq!(asked.header("location"), Some("/console/sign-in?next=%2Fconsole%2Faudit%3Faction%3Dapp.created"));
    let answer = sign_in(&server, PASSWORD);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/console/audit")));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.ends_with("; Path=/console; HttpOnly; SameSite=Strict"), "{set}");
    let cookie = cookie(&answer);
    let page = server.get("/console/audit").header("Cookie", &cookie).call();
    assert_eq!(page.status, 200);
    assert!(page.text.contains("admin.signed_in") && page.text.contains("app.created"));
    server.clock.advance_secs(12 * 3_600);
    assert_eq!(server.get("/console/audit").header("Cookie", &cookie).call().status, 303, "the sign-in has ended");
}

#[test]
fn behind_a_proxy_with_tls_the_cookie_is_never_sent_without() {
    let server = Server::start_with(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let form = format!("username=admin&password={PASSWORD}");
    let request = server.post("/console/sign-in").header("Content-Type", FORM).header("X-Forwarded-Proto", "https");
    let answer = request.header("Sec-Fetch-Site", "same-origin").raw(form.as_bytes());
    cookie(&answer);
    assert!(answer.header("set-cookie").unwrap().contains("; Secure"));
    let server = Server::start();
    let request = server.post("/console/sign-in").header("Content-Type", FORM).header("X-Forwarded-Proto", "https");
    let answer = request.header("Sec-Fetch-Site", "same-origin").raw(form.as_bytes());
    cookie(&answer);
    assert!(!answer.header("set-cookie").unwrap().contains("; Secure"), "anybody can say so");
}

#[test]
fn wrong_passwords_count_together_with_those_of_the_api() {
    let server = Server::start();
    for _ in 0..3 {
        assert_eq!(sign_in(&server, "CANARY-wrong").status, 401);
        let body = serde_json::json!({"username": "admin", "password": "CANARY-wrong"});
        server.post("/v1/admin-sessions").send(body);
    }
    let throttled = sign_in(&server, PASSWORD);
    assert_eq!(throttled.status, 429);
    assert!(throttled.text.contains("Too many attempts") && throttled.header("set-cookie").is_none());
}

#[test]
fn a_refusal_is_a_page() {
    let server = Server::start();
    for (path, status) in [("/console/nothing", 404), ("/console/apps/7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001", 404)] {
        let cookie = cookie(&sign_in(&server, PASSWORD));
        let page = server.get(path).header("Cookie", &cookie).header("Origin", "https://evil.test").call();
        assert_eq!((page.status, page.header("content-type")), (status, Some("text/html; charset=utf-8")), "{path}");
        assert!(page.text.contains("<h1>Not found</h1>") && page.text.contains(page.header("request-id").unwrap()));
        assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
        assert!(page.header("access-control-allow-origin").is_none());
    }
}

#[test]
fn what_pages_load_may_be_kept_for_ever() {
    let server = Server::start();
    let page = server.get("/console/sign-in").call();
    let mut found = 0;
    for path in page.text.split('"').filter(|text| text.starts_with("/console/assets/")) {
        let asset = server.get(path).call();
        assert_eq!(asset.status, 200, "{path}");
        assert!(asset.header("cache-control").unwrap().contains("immutable"));
        found += 1;
    }
    assert_eq!(found, 3);
    assert_eq!(server.get("/console/assets/console.0.css").call().status, 404);
}

/// The hidden field `name` of a page's first form that has it.
fn hidden(page: &Answer, name: &str) -> String {
    let (_, rest) = page.text.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// Sends a form, as a browser without scripts does.
fn submit(client: &Client, cookie: &str, path: &str, form: &str) -> Answer {
    let request = client.post(path).header("Content-Type", FORM).header("Cookie", cookie);
    request.header("Sec-Fetch-Site", "same-origin").raw(form.as_bytes())
}

#[test]
fn the_key_of_a_second_factor_is_shown_as_a_picture_too() {
    let server = Server::start();
    let cookie = cookie(&sign_in(&server, PASSWORD));
    let account = server.get("/console/account").header("Cookie", &cookie).call();
    let form = format!("csrf={}&password={PASSWORD}", hidden(&account, "csrf"));
    let page = submit(&server, &cookie, "/console/account/totp", &form);
    assert_eq!(page.status, 200);
    let (_, key) = page.text.split_once("secret=").unwrap();
    note_secret(&key[..32]);
    let (_, picture) = page.text.split_once("<svg ").unwrap();
    let (picture, _) = picture.split_once("</svg>").unwrap();
    assert!(picture.contains("role=\"img\" aria-label=\"The key") && picture.contains("<path "), "{picture}");
    // `getByLabel('Code')` of the Chromium suite, and people's screen readers, must find the field alone.
    assert!(!picture.to_lowercase().contains("code"), "{picture}");
}

/// The App-Secret that a page shows.
fn shown_secret(page: &Answer) -> Option<String> {
    let (_, rest) = page.text.split_once("data-copy=\"rspk_")?;
    let secret = format!("rspk_{}", rest.split_once('"').unwrap().0);
    note_secret(&secret);
    Some(secret)
}

#[test]
fn a_page_that_shows_a_secret_makes_no_second_one_when_it_is_loaded_again() {
    let server = Server::start();
    let cookie = cookie(&sign_in(&server, PASSWORD));
    let get = |path: &str| server.get(path).header("Cookie", &cookie).call();
    let list =
        || server.get(&format!("/v1/apps/{}/secrets", server.app)).secret().call().ok().as_array().unwrap().len();
    let twice = |path: &str, form: &str| {
        let first = shown_secret(&submit(&server, &cookie, path, form)).expect("the first answer shows it");
        let again = submit(&server, &cookie, path, form);
        assert_eq!((again.status, shown_secret(&again)), (200, None), "{path}");
        assert!(again.text.contains("The secret was made already, and is shown only once."), "{path}");
        first
    };

    let secrets = format!("/console/apps/{}/secrets", server.app);
    let page = get(&secrets);
    let fields = |page: &Answer| format!("csrf={}&once={}", hidden(page, "csrf"), hidden(page, "once"));
    let form = format!("{}&name=backend", fields(&page));
    let secret = twice(&secrets, &form);
    assert_eq!(list(), 2);
    server.get("/v1/roles").header("App-Secret", &secret).call().ok();
    // The form of before filled in otherwise, as after going back, is another wish; and so is a fresh form.
    assert!(shown_secret(&submit(&server, &cookie, &secrets, &form.replace("backend", "other"))).is_some());
    assert!(
        shown_secret(&submit(&server, &cookie, &secrets, &format!("{}&name=backend", fields(&get(&secrets)))))
            .is_some()
    );
    assert_eq!(list(), 4);

    let page = get(&secrets);
    let roll = page.text.split('"').find(|text| text.ends_with("/roll")).unwrap().to_owned();
    twice(&roll, &format!("{}&overlap=24h", fields(&page)));
    assert_eq!(list(), 5);

    let form = format!("{}&name=once+more&description=", fields(&get("/console/apps/new")));
    twice("/console/apps", &form);
    assert_eq!(get("/console/apps").text.matches("once more").count(), 1);
}

#[test]
fn a_cursor_that_no_list_gave_is_a_refusal_too() {
    let server = Server::start();
    let cookie = cookie(&sign_in(&server, PASSWORD));
    let app = format!("/console/apps/{}", server.app);
    let of_app = ["roles", "sessions", "connections", "calls", "bans"].map(|list| format!("{app}/{list}"));
    for path in ["/console/apps", "/console/requests", "/console/audit"].map(str::to_owned).iter().chain(&of_app) {
        let page = |query: &str| server.get(&format!("{path}{query}")).header("Cookie", &cookie).call();
        assert_eq!(page("").status, 200, "{path}");
        let refused = page("?cursor=7");
        assert!(refused.status == 400 && refused.text.contains("<h1>That did not work</h1>"), "{path}");
    }
}

#[test]
fn what_the_console_mints_is_counted() {
    let server = Server::start();
    let cookie = cookie(&sign_in(&server, PASSWORD));
    let path = format!("/console/apps/{}/try", server.app);
    let form = format!(
        "csrf={}&endpoint=alice&role={}",
        hidden(&server.get(&path).header("Cookie", &cookie).call(), "csrf"),
        server.role
    );
    assert_eq!(submit(&server, &cookie, &path, &form).status, 200);
    assert_eq!(submit(&server, &cookie, &format!("{path}/token"), &form).status, 200);
    let stats = server.get("/v1/stats").secret().call().ok();
    assert_eq!(stats["points"][59]["minted"], 2);
}

#[test]
fn a_sign_in_leads_on_to_a_page_of_an_app_too() {
    let server = Server::start();
    let asked = server.get(&format!("/console/apps/{}/sessions?address=::1", server.app)).call();
    let next = format!("/console/sign-in?next=%2Fconsole%2Fapps%2F{}%2Fsessions%3Faddress%3D%3A%3A1", server.app);
    assert_eq!((asked.status, asked.header("location")), (303, Some(next.as_str())));
}

#[test]
fn trying_out_cookies_is_slowed_down() {
    let server = Server::start_with(|config| config.failed_credentials_free = 3);
    let token = server.admin_token("admin");
    let with = |token: &str| server.get("/console/apps").header("Cookie", &format!("respoked_console={token}")).call();
    for _ in 0..3 {
        assert_eq!(with("7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001").status, 303);
    }
    let refused = with("7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001");
    assert!(refused.status == 429 && refused.text.contains("id=\"outcome\""), "{}", refused.text);
    assert_eq!(with(&token).status, 200, "who is signed in is not touched");
}

#[test]
fn the_form_says_that_an_address_asks_too_often() {
    let server = Server::start_with(|config| {
        (config.address_requests_per_second, config.address_requests_burst) = (1, 1);
    });
    let limited = eventually(|| Some(sign_in(&server, PASSWORD)).filter(|answer| answer.status == 429));
    assert!(limited.text.contains("Too many attempts") && limited.text.contains("name=\"password\""));
    // Nor may it ask for pages without end.
    eventually(|| (server.get("/console/apps").call().status == 429).then_some(()));
}

#[test]
fn saving_settings_changes_back_nothing_that_somebody_else_changed() {
    let server = Server::start();
    let owner = server.admin_token("admin");
    let (app, page) = (format!("/v1/apps/{}", server.app), format!("/console/apps/{}", server.app));
    let new = json!({"username": "dev", "password": PASSWORD, "role": "developer", "currentPassword": PASSWORD});
    server.post("/v1/admins").admin(&owner).send(new).ok();
    for (token, name) in [(owner.clone(), "by the owner"), (server.admin_token("dev"), "by a developer")] {
        let cookie = format!("respoked_console={token}");
        let seen = server.get(&page).header("Cookie", &cookie).call();
        assert_eq!(seen.text.contains("<fieldset disabled>"), name == "by a developer");
        let shown = hidden(&seen, "shown").replace("&amp;", "&");
        let pairs = form_urlencoded::parse(shown.as_bytes()).filter(|(field, _)| field != "name");
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .append_pair("csrf", &hidden(&seen, "csrf"))
            .append_pair("shown", &shown)
            .append_pair("name", name)
            .finish();
        let connections = name.len();
        let meanwhile = json!({"description": name, "limits": {"connections": connections}});
        server.put(&app).admin(&owner).send(meanwhile).ok();
        assert_eq!(submit(&server, &cookie, &page, &form).status, 303);
        let after = server.get(&app).admin(&owner).call().ok();
        assert_eq!((&after["name"], &after["description"]), (&json!(name), &json!(name)));
        assert_eq!(after["limits"]["connections"], connections);
    }
}

#[test]
fn a_refused_form_says_so_by_its_status_and_keeps_what_was_typed() {
    let server = Server::start();
    let cookie = cookie(&sign_in(&server, PASSWORD));
    let csrf = hidden(&server.get("/console/apps/new").header("Cookie", &cookie).call(), "csrf");
    let refused = submit(&server, &cookie, "/console/apps", &format!("csrf={csrf}&name=&description=kept+text"));
    assert!(refused.status == 400 && refused.text.contains("kept text"), "{}", refused.text);

    let role = format!("/console/apps/{}/roles", server.app);
    let form = format!("csrf={csrf}&name=typed&save=switches&rule.0.pattern=&rule.0.publish=on");
    let refused = submit(&server, &cookie, &role, &form);
    assert!(refused.status == 400 && refused.text.contains("has no name or pattern"), "{}", refused.text);
    assert!(refused.text.contains("name=\"rule.0.publish\" checked") && refused.text.contains("value=\"typed\""));
}

#[test]
fn samples_name_the_role_that_the_form_names() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let page = || {
        let cookie = format!("respoked_console={admin}");
        server.get(&format!("/console/apps/{}/try", server.app)).header("Cookie", &cookie).call().text
    };
    assert!(page().contains("roleId"));
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(json!({"developmentMode": true})).ok();
    assert!(!page().contains("roleId"), "no role is chosen");
}

#[test]
fn samples_say_by_which_url_others_reach_the_server() {
    let shown = |public_url: Option<&str>| {
        let server = Server::start_with(|config| config.public_url = public_url.and_then(PublicUrl::parse));
        let cookie = cookie(&sign_in(&server, PASSWORD));
        let page =
            server.get(&format!("/console/apps/{}/try?endpoint=jo", server.app)).header("Cookie", &cookie).call();
        (page.text, server.url.clone())
    };
    let (page, _) = shown(Some("https://chat.example.com/"));
    assert!(page.contains("https://chat.example.com/v1/tokens"), "{page}");
    assert!(!page.contains("127.0.0.1"), "{page}");
    let (page, url) = shown(None);
    assert!(page.contains(&format!("{url}/v1/tokens")), "{page}");
}
