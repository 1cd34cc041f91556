//! What operators are given in `deploy/`: its YAML can be read, what one part of it names is there in another, it names settings
//! that there are, and the proxies take their files and do nothing that was seen to hurt.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize as _;
use serde_yaml_ng::Value;

use crate::cluster;
use crate::command::run_command;
use crate::programs::Programs;

/// How long a node may take to end beside `drain_secs`.
const CLOSING_SECS: u64 = 10;

pub(super) fn check(root: &Path) -> anyhow::Result<()> {
    let deploy = root.join("deploy");
    let settings = settings_of(&std::fs::read_to_string(root.join("docs/configuration.md"))?)?;
    let read = |name: &str| std::fs::read_to_string(deploy.join(name)).with_context(|| format!("deploy/{name}"));
    let (compose, kubernetes) = (read("compose.yaml")?, read("kubernetes.yaml")?);
    for (name, text) in [("compose.yaml", &compose), ("kubernetes.yaml", &kubernetes)] {
        settings_are_known(text, &settings).with_context(|| format!("deploy/{name}"))?;
    }
    compose_fits(&compose).context("deploy/compose.yaml")?;
    let haproxy = read("haproxy.cfg")?;
    kubernetes_fits(&kubernetes, &haproxy).context("deploy/kubernetes.yaml")?;
    haproxy_fits(&haproxy).context("deploy/haproxy.cfg")?;
    nginx_fits(&read("nginx.conf")?).context("deploy/nginx.conf")?;
    caddy_fits(&read("Caddyfile")?).context("deploy/Caddyfile")?;
    match proxies_take_their_files(&deploy, &root.join("build/debian")) {
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("not checked by the proxies themselves: {error:#}");
            Ok(())
        }
        checked => checked,
    }
}

/// The names of all settings, from the table that a test of the server holds to them.
fn settings_of(configuration: &str) -> anyhow::Result<BTreeSet<String>> {
    let keys = configuration.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    let keys = keys.flat_map(|(keys, _)| keys.split(", ").map(|key| key.trim_matches('`').to_owned()));
    let keys: BTreeSet<String> = keys.collect();
    ensure!(
        keys.contains("listen") && keys.contains("tls_key"),
        "docs/configuration.md has another form than is known here"
    );
    Ok(keys)
}

/// Fails on a variable `RESPOKED_…` that is no setting.
fn settings_are_known(text: &str, settings: &BTreeSet<String>) -> anyhow::Result<()> {
    for (at, _) in text.match_indices("RESPOKED_") {
        let name: String = text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
        let key = name["RESPOKED_".len()..].to_ascii_lowercase();
        ensure!(settings.contains(&key), "{name} is no setting");
    }
    Ok(())
}

/// The documents of a file.
fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let read = |document| {
        let mut value = Value::deserialize(document)?;
        value.apply_merge()?;
        anyhow::Ok(value)
    };
    serde_yaml_ng::Deserializer::from_str(text).map(read).collect()
}

/// What is at the end of a way of keys.
fn at<'a>(value: &'a Value, way: &str) -> anyhow::Result<&'a Value> {
    let step =
        |value: &'a Value, key: &str| key.parse::<usize>().map_or_else(|_| value.get(key), |number| value.get(number));
    way.split('.').try_fold(value, step).with_context(|| format!("there is no {way}"))
}

fn text<'a>(value: &'a Value, way: &str) -> anyhow::Result<&'a str> {
    at(value, way)?.as_str().with_context(|| format!("{way} is no text"))
}

fn list<'a>(value: &'a Value, way: &str) -> anyhow::Result<&'a Vec<Value>> {
    at(value, way)?.as_sequence().with_context(|| format!("{way} is no list"))
}

/// The names in a map.
fn names(value: &Value, way: &str) -> anyhow::Result<BTreeSet<String>> {
    let map = at(value, way)?.as_mapping().with_context(|| format!("{way} is no map"))?;
    Ok(map.keys().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Fails unless a node gets more time to end than it takes.
fn ends_in_time(grace: u64, drain: &str) -> anyhow::Result<()> {
    let drain: u64 = drain.parse().context("RESPOKED_DRAIN_SECS is no number")?;
    ensure!(grace >= drain + CLOSING_SECS, "a node that takes {drain} s to drain is killed after {grace} s");
    Ok(())
}

fn compose_fits(file: &str) -> anyhow::Result<()> {
    let documents = documents(file)?;
    let [compose] = documents.as_slice() else { bail!("it is not one document") };
    let declared = |what: &str| names(compose, what);
    let services = declared("services")?;
    for name in &services {
        let service = at(compose, &format!("services.{name}"))?;
        for (used, there) in [("depends_on", "services"), ("secrets", "secrets"), ("networks", "networks")] {
            let there = declared(there)?;
            for named in service.get(used).and_then(Value::as_sequence).into_iter().flatten() {
                let named = named.as_str().context("it is named by more than its name")?;
                ensure!(there.contains(named), "{name} names {named}, which is not among its {used}");
            }
        }
        if name.starts_with("node-") {
            let grace = text(service, "stop_grace_period")?.trim_end_matches('s').parse()?;
            ends_in_time(grace, text(service, "environment.RESPOKED_DRAIN_SECS")?)?;
            let secrets: BTreeSet<_> = list(service, "secrets")?.iter().filter_map(Value::as_str).collect();
            for file in file.split("/run/secrets/").skip(1).filter_map(|rest| rest.lines().next()) {
                let file: String = file.chars().take_while(|c| c.is_alphanumeric() || "-.".contains(*c)).collect();
                ensure!(declared("secrets")?.contains(&file), "there is no secret {file}");
            }
            ensure!(secrets.contains("database"), "{name} is not given the database's address");
        }
    }
    ensure!(services.iter().filter(|name| name.starts_with("node-")).count() > 1, "it has no two nodes");
    Ok(())
}

fn kubernetes_fits(file: &str, haproxy: &str) -> anyhow::Result<()> {
    let documents = documents(file)?;
    let of_kind = |kind: &str| {
        documents.iter().filter(|document| text(document, "kind").is_ok_and(|found| found == kind)).collect::<Vec<_>>()
    };
    let workloads = [of_kind("StatefulSet"), of_kind("Deployment")].concat();
    let selected = |labels: &Value| {
        let is_it =
            |workload: &&&Value| at(workload, "spec.template.metadata.labels").is_ok_and(|found| found == labels);
        workloads.iter().find(is_it).copied().context("nothing has the labels that are selected")
    };
    for workload in &workloads {
        selected(at(workload, "spec.selector.matchLabels")?)?;
        pod_fits(at(workload, "spec.template.spec")?)
            .with_context(|| text(workload, "metadata.name").unwrap_or("").to_owned())?;
    }
    for budget in of_kind("PodDisruptionBudget") {
        selected(at(budget, "spec.selector.matchLabels")?)?;
    }
    for service in of_kind("Service") {
        let target = text(service, "spec.ports.0.targetPort")?;
        let ports = list(selected(at(service, "spec.selector")?)?, "spec.template.spec.containers.0.ports")?;
        ensure!(
            ports.iter().any(|port| text(port, "name").is_ok_and(|name| name == target)),
            "no port is called {target}"
        );
    }
    let [nodes] = of_kind("StatefulSet")[..] else { bail!("it has not one kind of node") };
    let of_nodes = text(nodes, "spec.serviceName")?;
    ensure!(
        of_kind("Service").iter().any(|service| text(service, "metadata.name").is_ok_and(|name| name == of_nodes)),
        "no service is called {of_nodes}"
    );
    let [settings] = of_kind("ConfigMap")[..] else { bail!("it has not one map of settings") };
    let given = text(settings, "data.haproxy.cfg")
        .or_else(|_| settings["data"]["haproxy.cfg"].as_str().context("there is no haproxy.cfg"))?;
    ensure!(
        cluster::apart_from_addresses(given) == cluster::apart_from_addresses(haproxy),
        "its haproxy.cfg differs from deploy/haproxy.cfg in more than addresses"
    );
    Ok(())
}

/// Fails unless what a pod names is there in it.
fn pod_fits(pod: &Value) -> anyhow::Result<()> {
    let container = at(pod, "containers.0")?;
    let ports = list(container, "ports")?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let Some(probe) = container.get(probe) else { continue };
        let (path, port) = (text(probe, "httpGet.path")?, text(probe, "httpGet.port")?);
        ensure!(["/healthz", "/readyz"].contains(&path), "{path} tells nothing of a server's health");
        ensure!(
            ports.iter().any(|found| text(found, "name").is_ok_and(|name| name == port)),
            "no port is called {port}"
        );
    }
    let volumes: BTreeSet<_> = list(pod, "volumes")?.iter().filter_map(|volume| text(volume, "name").ok()).collect();
    for mount in list(container, "volumeMounts")? {
        let name = text(mount, "name")?;
        ensure!(volumes.contains(name), "there is no volume {name}");
    }
    let Some(environment) = container.get("env").and_then(Value::as_sequence) else { return Ok(()) };
    let set = |name: &str| {
        let found = environment.iter().find(|variable| text(variable, "name").is_ok_and(|found| found == name));
        text(found.with_context(|| format!("{name} is not set"))?, "value")
    };
    let grace = at(pod, "terminationGracePeriodSeconds")?.as_u64().context("the grace is no number")?;
    ends_in_time(grace, set("RESPOKED_DRAIN_SECS")?)?;
    ensure!(
        text(container, "livenessProbe.httpGet.path")? == "/healthz",
        "an outage of the database would restart nodes"
    );
    let listens = set("RESPOKED_LISTEN")?.rsplit(':').next().and_then(|port| port.parse::<u64>().ok());
    ensure!(
        listens.is_some() && listens == at(container, "ports.0.containerPort")?.as_u64(),
        "the port is another one"
    );
    Ok(())
}

/// The lines of a proxy's file that are no comments.
fn said(file: &str) -> impl Iterator<Item = &str> {
    file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Fails if HAProxy would take names for gone that stand in `/etc/hosts` alone.
fn haproxy_fits(file: &str) -> anyhow::Result<()> {
    let of_servers = said(file).filter(|line| line.starts_with("server ") || line.starts_with("default-server "));
    for line in of_servers {
        ensure!(!line.contains(" resolvers "), "DNS alone has to know the nodes: {line}");
    }
    Ok(())
}

/// Fails if nginx would go by what clients can bring about, or write down what they are known by.
fn nginx_fits(file: &str) -> anyhow::Result<()> {
    for line in said(file).filter(|line| line.starts_with("server node-")) {
        ensure!(line.ends_with(" max_fails=0;"), "one client could take this node from everybody: {line}");
    }
    for line in ["proxy_next_upstream error timeout;", "access_log off;", "error_log /dev/null;"] {
        ensure!(said(file).any(|found| found == line), "it does not say: {line}");
    }
    ensure!(said(file).any(|line| line.starts_with("server_name ")), "Debian's own site would get its requests");
    Ok(())
}

/// Fails if Caddy would write down credentials.
fn caddy_fits(file: &str) -> anyhow::Result<()> {
    for line in ["request>headers delete", "request>uri delete"] {
        ensure!(said(file).any(|found| found == line), "it does not say: {line}");
    }
    Ok(())
}

/// Has each proxy read its file, with addresses of this machine where it must know them. `unpacked` is where programs are put
/// that are wanted for this alone.
fn proxies_take_their_files(deploy: &Path, unpacked: &Path) -> anyhow::Result<()> {
    let programs = Programs::default();
    programs.have_without_service(cluster::HAPROXY, cluster::HAPROXY_PACKAGE)?;
    cluster::check_haproxy()?;

    let folder = tempfile::tempdir()?;
    let place = folder.path().display();
    let nginx = programs.unpacked("nginx", "usr/sbin/nginx", unpacked)?;
    let given = std::fs::read_to_string(deploy.join("nginx.conf"))?;
    // Its certificate is no part of it.
    let without_tls = given.lines().filter(|line| !line.contains("ssl"));
    let given: Vec<String> = without_tls
        .map(|line| {
            line.replace("listen 80", &format!("listen unix:{place}/socket")).replace("server node-", "server 127.0.0.")
        })
        .collect();
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {place}/{kind};"));
    let settings = format!(
        "pid {place}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{}\n{}\n}}\n",
        temporary.join("\n"),
        given.join("\n")
    );
    std::fs::write(folder.path().join("nginx.conf"), settings)?;
    let mut command = Command::new(nginx);
    command.args(["-t", "-q", "-e", "stderr", "-c"]).arg(folder.path().join("nginx.conf"));
    run_command(&mut command)?;

    let caddy = programs.unpacked("caddy", "usr/bin/caddy", unpacked)?;
    let mut command = Command::new(caddy);
    command.args(["validate", "--adapter", "caddyfile", "--config"]).arg(deploy.join("Caddyfile"));
    // Where it would keep certificates.
    command.env("HOME", folder.path()).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
    let said = command.output().context("caddy could not be started")?;
    ensure!(said.status.success(), "caddy does not take its file: {}", String::from_utf8_lossy(&said.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = include_str!("../../../deploy/compose.yaml");
    const KUBERNETES: &str = include_str!("../../../deploy/kubernetes.yaml");
    const HAPROXY: &str = include_str!("../../../deploy/haproxy.cfg");
    const NGINX: &str = include_str!("../../../deploy/nginx.conf");
    const CADDY: &str = include_str!("../../../deploy/Caddyfile");

    fn of_compose(from: &str, to: &str) -> String {
        assert!(COMPOSE.contains(from), "{from}");
        compose_fits(&COMPOSE.replacen(from, to, 1)).map_or_else(|error| format!("{error:#}"), |()| "taken".to_owned())
    }

    fn of_kubernetes(from: &str, to: &str) -> String {
        assert!(KUBERNETES.contains(from), "{from}");
        let found = kubernetes_fits(&KUBERNETES.replacen(from, to, 1), HAPROXY);
        found.map_or_else(|error| format!("{error:#}"), |()| "taken".to_owned())
    }

    #[test]
    fn what_does_not_fit_is_found() {
        assert_eq!(of_compose("name: respoked", "name: respoked"), "taken");
        assert!(of_compose("stop_grace_period: 40s", "stop_grace_period: 25s").contains("killed after 25 s"));
        assert!(of_compose("depends_on: [postgres, nats]", "depends_on: [postgres, nets]").contains("nets"));
        assert!(of_compose("networks: [inside]", "networks: [outside]").contains("outside"));
        assert!(of_compose("/run/secrets/turn-secret", "/run/secrets/turn").contains("no secret turn"));

        assert_eq!(of_kubernetes("name: respoked", "name: respoked"), "taken");
        assert!(of_kubernetes("PeriodSeconds: 60", "PeriodSeconds: 30").contains("killed after 30 s"));
        assert!(of_kubernetes("targetPort: http", "targetPort: htp").contains("no port is called htp"));
        assert!(of_kubernetes("path: /healthz", "path: /health").contains("/health tells nothing"));
        assert!(of_kubernetes("containerPort: 8080", "containerPort: 8081").contains("another one"));
        assert!(of_kubernetes("matchLabels: { app: respoked }", "matchLabels: { app: respoke }").contains("labels"));
        assert!(of_kubernetes("serviceName: respoked-nodes", "serviceName: respoked").contains("no service"));
        assert!(of_kubernetes("    timeout connect 2s", "    timeout connect 3s").contains("in more than addresses"));
        assert!(of_kubernetes("replicas: 3", "replicas: [3").contains("did not find"));
    }

    #[test]
    fn what_hurts_behind_a_proxy_is_found() {
        let of = |fits: fn(&str) -> anyhow::Result<()>, file: &str, from: &str, to: &str| {
            assert!(fits(file).is_ok() && file.contains(from), "{from}");
            fits(&file.replacen(from, to, 1)).unwrap_err().to_string()
        };
        let resolved = " 2 rise 1 resolvers system";
        assert!(of(haproxy_fits, HAPROXY, " 2 rise 1", resolved).contains("DNS alone"));
        assert!(of(haproxy_fits, HAPROXY, ":8080 track", ":8080 resolvers system track").contains("DNS alone"));
        assert!(of(nginx_fits, NGINX, " max_fails=0", "").contains("node-1"));
        assert!(of(nginx_fits, NGINX, "error timeout;", "error timeout http_503;").contains("proxy_next_upstream"));
        assert!(of(nginx_fits, NGINX, "    access_log", "    # access_log").contains("access_log"));
        assert!(of(nginx_fits, NGINX, "error_log /dev/null", "error_log stderr").contains("error_log"));
        assert!(of(nginx_fits, NGINX, "server_name example.com", "default_type text/plain").contains("Debian's"));
        assert!(
            of(caddy_fits, CADDY, "request>headers delete", "request>headers>App-Secret delete").contains("headers")
        );
        assert!(of(caddy_fits, CADDY, "request>uri delete", "").contains("request>uri"));
    }

    #[test]
    fn a_setting_that_is_none_is_found() {
        let settings = settings_of("| `listen` | x |\n| `tls_cert`, `tls_key` | none |\n").unwrap();
        assert!(settings_are_known("RESPOKED_TLS_KEY: a", &settings).is_ok());
        let error = settings_are_known("RESPOKED_LISTEN: a\nRESPOKED_TLS: b", &settings).unwrap_err();
        assert_eq!(error.to_string(), "RESPOKED_TLS is no setting");
    }
}
