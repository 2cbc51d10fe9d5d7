//! Do the rendered documents fit each other? Ports, probes, paths, limits, rights.
//!
//! Works on JSON values alone, so that its tests damage a document and see it found.

use anyhow::Result;
use serde_json::Value;

/// What the admin listener answers on.
const PROBE_PATHS: [&str; 2] = ["/healthz", "/readyz"];
/// `stop-timeout` of the binary: the grace period has to be longer by what the disk may need.
const GRACE_SECONDS_MIN: u64 = 30 + 15;
/// Part of the memory limit that `--memory` may take, in percent.
const MEMORY_PERCENT_MAX: u64 = 80;

/// How the node is started, as written in the documents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) arguments: Vec<String>,
    pub(super) manifest_path: String,
    pub(super) manifest: String,
    pub(super) data: String,
    pub(super) admin: String,
    /// Ports that the manifest listens on.
    pub(super) listening: Vec<u64>,
}

/// Answers how the node is started, or everything that is wrong. `parse` reads YAML.
pub(super) fn check(
    documents: &[Value],
    parse: impl Fn(&str) -> Result<Vec<Value>>,
) -> Result<Node, Vec<String>> {
    let mut findings = Vec::new();
    for pod in documents.iter().filter(|d| d["spec"]["template"].is_object()) {
        findings.extend(rights(pod));
        findings.extend(probes(pod));
    }
    for service in of_kind(documents, "Service") {
        findings.extend(service_ports(service, documents));
    }
    let node = of_kind(documents, "StatefulSet").next().ok_or_else(|| "no StatefulSet".to_owned());
    let node = node.and_then(|set| {
        findings.extend(bounds(set));
        started(set, documents, parse)
    });
    match node {
        Ok(node) if findings.is_empty() => Ok(node),
        Ok(_) => Err(findings),
        Err(problem) => {
            findings.push(problem);
            Err(findings)
        }
    }
}

fn started(
    set: &Value,
    documents: &[Value],
    parse: impl Fn(&str) -> Result<Vec<Value>>,
) -> Result<Node, String> {
    let container = container(set);
    let arguments: Vec<String> =
        list(&container["args"]).iter().map(|a| text(a).to_owned()).collect();
    let flag = |name: &str| {
        let found = arguments.iter().find_map(|argument| argument.strip_prefix(name));
        found.map(ToOwned::to_owned).ok_or_else(|| format!("no argument {name}..."))
    };
    let (data, admin) = (flag("--data=")?, flag("--admin=")?);
    let claims: Vec<&str> = list(&set["spec"]["volumeClaimTemplates"])
        .iter()
        .map(|claim| text(&claim["metadata"]["name"]))
        .collect();
    let on_claim = mount_of(container, &data).is_some_and(|volume| claims.contains(&volume));
    if !on_claim {
        return Err(format!("--data={data} is not on a volume of volumeClaimTemplates"));
    }
    let admin_port = named_port(container, &Value::from("admin"));
    if admin_port.is_none_or(|port| admin != format!("0.0.0.0:{port}")) {
        return Err(format!("--admin={admin} is not the container port 'admin' on all addresses"));
    }
    let manifest_path = arguments.iter().find(|argument| argument.ends_with(".yaml"));
    let manifest_path = manifest_path.ok_or("no manifest among the arguments")?.clone();
    let manifest = mounted_file(set, documents, &manifest_path)
        .ok_or_else(|| format!("{manifest_path} is in no mounted ConfigMap"))?;
    let components = parse(manifest).map_err(|error| format!("{manifest_path}: {error:#}"))?;
    let listening: Vec<u64> = components.iter().filter_map(listening_port).collect();
    let open: Vec<u64> =
        list(&container["ports"]).iter().filter_map(|p| p["containerPort"].as_u64()).collect();
    if let Some(port) = listening.iter().find(|port| !open.contains(port)) {
        return Err(format!("{manifest_path} listens on {port}, which is no containerPort"));
    }
    if listening.is_empty() {
        return Err(format!("{manifest_path} listens nowhere"));
    }
    let manifest = manifest.to_owned();
    Ok(Node { arguments, manifest_path, manifest, data, admin, listening })
}

/// Grace period and memory of the node.
fn bounds(set: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let grace = set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    if grace.is_none_or(|seconds| seconds < GRACE_SECONDS_MIN) {
        findings.push(format!("terminationGracePeriodSeconds is below {GRACE_SECONDS_MIN}"));
    }
    let container = container(set);
    let limit = bytes(text(&container["resources"]["limits"]["memory"]));
    let memory = list(&container["args"]).iter().find_map(|a| text(a).strip_prefix("--memory="));
    match (limit, memory.and_then(bytes)) {
        (Some(limit), Some(memory)) if memory * 100 <= limit * MEMORY_PERCENT_MAX => {}
        (limit, memory) => findings.push(format!(
            "--memory ({memory:?} bytes) should be at most {MEMORY_PERCENT_MAX} % of limits.memory \
             ({limit:?} bytes)"
        )),
    }
    if set["spec"]["replicas"] != 1 {
        findings.push("the embedded store serves one process: replicas must be 1".to_owned());
    }
    findings
}

fn rights(document: &Value) -> Vec<String> {
    let pod = &document["spec"]["template"]["spec"];
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", title(document)));
        }
    };
    expect(pod["securityContext"]["runAsNonRoot"] == true, "runAsNonRoot is not set");
    expect(pod["automountServiceAccountToken"] == false, "mounts a service account's token");
    for container in list(&pod["containers"]) {
        let context = &container["securityContext"];
        expect(context["readOnlyRootFilesystem"] == true, "the root file system is writable");
        expect(context["allowPrivilegeEscalation"] == false, "privileges may be raised");
        expect(context["capabilities"]["drop"][0] == "ALL", "capabilities are not dropped");
        expect(!container["resources"]["limits"]["memory"].is_null(), "no memory limit");
        expect(container["readinessProbe"].is_object(), "no readiness probe");
    }
    wrong
}

fn probes(document: &Value) -> Vec<String> {
    let container = container(document);
    let kinds = ["startupProbe", "livenessProbe", "readinessProbe"];
    let mut findings = Vec::new();
    for kind in kinds {
        let probe = &container[kind];
        let http = &probe["httpGet"];
        let target = if http.is_object() { http } else { &probe["tcpSocket"] };
        if probe.is_object() && named_port(container, &target["port"]).is_none() {
            findings.push(format!("{}: {kind}: no such port", title(document)));
        }
        if http.is_object() && !PROBE_PATHS.contains(&text(&http["path"])) {
            let path = text(&http["path"]);
            findings.push(format!("{}: {kind}: nobody answers on {path}", title(document)));
        }
    }
    findings
}

/// Each service selects a pod that has its target ports.
fn service_ports(service: &Value, documents: &[Value]) -> Vec<String> {
    let selector = service["spec"]["selector"].as_object();
    let selected = documents.iter().find(|document| {
        let labels = &document["spec"]["template"]["metadata"]["labels"];
        let fits = |(key, value): (&String, &Value)| &labels[key] == value;
        selector.is_some_and(|selector| selector.iter().all(fits))
    });
    let Some(pod) = selected else {
        return vec![format!("{}: selects no pod", title(service))];
    };
    let ports = list(&service["spec"]["ports"]).iter();
    let missing = ports.filter(|port| named_port(container(pod), &port["targetPort"]).is_none());
    missing
        .map(|port| format!("{}: no target port {}", title(service), port["targetPort"]))
        .collect()
}

fn container(document: &Value) -> &Value {
    &document["spec"]["template"]["spec"]["containers"][0]
}

/// The number of a container's port, given by name or number.
fn named_port(container: &Value, port: &Value) -> Option<u64> {
    let ports = list(&container["ports"]).iter();
    let mut fitting = ports.filter(|p| &p["name"] == port || &p["containerPort"] == port);
    fitting.next()?["containerPort"].as_u64()
}

/// The volume on which `path` lies: the longest mount that is a prefix of it.
fn mount_of<'a>(container: &'a Value, path: &str) -> Option<&'a str> {
    let mounts = list(&container["volumeMounts"]).iter();
    let above = mounts.filter(|mount| {
        let rest = path.strip_prefix(text(&mount["mountPath"]));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let longest = above.max_by_key(|mount| text(&mount["mountPath"]).len())?;
    Some(text(&longest["name"]))
}

/// The text behind `path` if it is a key of a mounted ConfigMap.
fn mounted_file<'a>(set: &Value, documents: &'a [Value], path: &str) -> Option<&'a str> {
    let (_, key) = path.rsplit_once('/')?;
    let volume = mount_of(container(set), path)?;
    let volumes = list(&set["spec"]["template"]["spec"]["volumes"]);
    let volume = volumes.iter().find(|v| text(&v["name"]) == volume)?;
    let name = &volume["configMap"]["name"];
    let map = of_kind(documents, "ConfigMap").find(|map| &map["metadata"]["name"] == name)?;
    map["data"][key].as_str()
}

/// `listen: HOST:PORT` or `port: PORT` of a component.
fn listening_port(component: &Value) -> Option<u64> {
    let spec = &component["spec"];
    let listen = spec["listen"].as_str().and_then(|address| address.rsplit_once(':'));
    listen.and_then(|(_, port)| port.parse().ok()).or_else(|| spec["port"].as_u64())
}

fn bytes(size: &str) -> Option<u64> {
    let digits = size.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = size[..digits].parse().ok()?;
    let factor = match &size[digits..] {
        "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        _ => return None,
    };
    Some(number * factor)
}

fn of_kind<'a>(documents: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    documents.iter().filter(move |document| document["kind"] == kind)
}

fn title(document: &Value) -> String {
    let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
    format!("{kind} {name}")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sound() -> Vec<Value> {
        let probe = |path: &str| json!({"httpGet": {"path": path, "port": "admin"}});
        let labels = json!({"app": "d"});
        vec![
            json!({"kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"module.yaml": "text"}}),
            json!({"kind": "Service", "metadata": {"name": "s"},
                   "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]}}),
            json!({"kind": "StatefulSet", "metadata": {"name": "d"}, "spec": {
            "replicas": 1,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "template": {"metadata": {"labels": labels}, "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 60,
                "securityContext": {"runAsNonRoot": true},
                "volumes": [{"name": "module", "configMap": {"name": "m"}}],
                "containers": [{
                    "args": ["run", "/etc/d/module.yaml", "--data=/var/d/data",
                             "--memory=768MiB", "--admin=0.0.0.0:9095"],
                    "ports": [{"name": "http", "containerPort": 8080},
                              {"name": "admin", "containerPort": 9095}],
                    "startupProbe": probe("/healthz"),
                    "livenessProbe": probe("/healthz"),
                    "readinessProbe": probe("/readyz"),
                    "resources": {"limits": {"memory": "1Gi"}},
                    "securityContext": {"allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "data", "mountPath": "/var/d"},
                                     {"name": "module", "mountPath": "/etc/d"}],
                }]}}}}),
        ]
    }

    fn checked(documents: &[Value]) -> Result<Node, Vec<String>> {
        check(documents, |_| Ok(vec![json!({"spec": {"listen": "0.0.0.0:8080"}})]))
    }

    #[test]
    fn a_sound_set_tells_how_the_node_starts() {
        let node = checked(&sound()).unwrap();
        assert_eq!(node.data, "/var/d/data");
        assert_eq!(node.manifest, "text");
        assert_eq!(node.listening, [8080]);
    }

    #[test]
    fn each_damage_is_found() {
        let pod = "/2/spec/template/spec";
        let container = format!("{pod}/containers/0");
        let damages = [
            (format!("{container}/readinessProbe/httpGet/path"), json!("/ready")),
            (format!("{container}/livenessProbe/httpGet/port"), json!("adm")),
            (format!("{container}/args/2"), json!("--data=/var/else")),
            (format!("{container}/args/3"), json!("--memory=900MiB")),
            (format!("{container}/args/4"), json!("--admin=127.0.0.1:9095")),
            (format!("{container}/args/1"), json!("/etc/d/other.yaml")),
            (format!("{container}/ports/0/containerPort"), json!(8081)),
            (format!("{container}/securityContext/readOnlyRootFilesystem"), json!(false)),
            (format!("{pod}/terminationGracePeriodSeconds"), json!(30)),
            (format!("{pod}/securityContext/runAsNonRoot"), json!(null)),
            ("/2/spec/replicas".to_owned(), json!(2)),
            ("/1/spec/ports/0/targetPort".to_owned(), json!("web")),
            ("/1/spec/selector/app".to_owned(), json!("x")),
            ("/0/metadata/name".to_owned(), json!("n")),
        ];
        for (place, damage) in damages {
            let mut documents = Value::from(sound());
            *documents.pointer_mut(&place).unwrap() = damage;
            assert!(checked(list(&documents)).is_err(), "{place}");
        }
    }
}
