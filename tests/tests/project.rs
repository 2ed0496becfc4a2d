//! What has to be the same in several places, is.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::{read, root, template};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;
use yaml_rust2::{Yaml, YamlLoader};

/// A route: its method, its path, and the function that serves it.
type Route = (String, String, String);

fn toml(path: &str) -> toml::Table {
    read(path)
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the binaries, and whether each has a route.
fn binaries() -> BTreeSet<String> {
    let folder = root().join("functions/src/bin");
    let names = std::fs::read_dir(folder).expect("a folder").map(|file| {
        let path = file.expect("a file").path();
        path.file_stem()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned()
    });
    names.collect()
}

fn routes_of_the_local_router() -> BTreeSet<Route> {
    let manifest = toml("Cargo.toml");
    let table = &manifest["workspace"]["metadata"]["lambda"]["watch"]["router"];
    let mut routes = BTreeSet::new();
    for (path, targets) in table.as_table().expect("a table") {
        for target in targets.as_array().expect("a list") {
            let text = |name: &str| target[name].as_str().expect("a text").to_owned();
            routes.insert((text("method"), path.clone(), text("function")));
        }
    }
    routes
}

fn routes_of_the_template() -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for (name, function) in template::functions() {
        let Some(events) = function["Properties"]["Events"].as_hash() else {
            continue;
        };
        for event in events
            .values()
            .filter(|event| event["Type"].as_str() == Some("HttpApi"))
        {
            let text = |property: &str| {
                event["Properties"][property]
                    .as_str()
                    .expect("a text")
                    .to_owned()
            };
            let is_new = routes.insert((
                text("Method").to_uppercase(),
                text("Path"),
                template::binary_of(&function),
            ));
            assert!(is_new, "{name} has a route twice");
        }
    }
    routes
}

fn routes_of_the_readme() -> BTreeSet<Route> {
    let readme = read("README.md");
    let table = readme.split_once("\n## Routes\n").expect("a chapter").1;
    let rows = table.lines().take_while(|line| !line.starts_with("## "));
    let mut routes = BTreeSet::new();
    for row in rows.filter(|row| row.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for route in cells[2].split(", ") {
            if let Some((method, path)) = route.split_once(" `/") {
                let path = path.trim_end_matches('`').split('?').next();
                let path = format!("/{}", path.unwrap_or_default());
                let function = cells[1].trim_matches('`').to_owned();
                routes.insert((method.to_owned(), path, function));
            }
        }
    }
    routes
}

/// The routes that openapi.yaml describes: their methods and paths.
fn routes_of_the_document() -> BTreeSet<(String, String)> {
    let document = YamlLoader::load_from_str(&read("openapi.yaml"))
        .expect("YAML")
        .remove(0);
    let methods = ["get", "put", "post", "delete", "patch"];
    let paths = document["paths"].as_hash().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let path = path.as_str().expect("a path");
            let described = item.as_hash().expect("an object").keys();
            described
                .filter_map(Yaml::as_str)
                .filter(|key| methods.contains(key))
                .map(|method| (method.to_uppercase(), path.to_owned()))
        })
        .collect()
}

/// The routes that the contract lists.
fn routes_of_the_contract() -> BTreeSet<Route> {
    [
        ("POST", "/api/auth/register", "register"),
        ("POST", "/api/auth/login", "login"),
        ("POST", "/api/auth/token", "login"),
        ("POST", "/api/auth/logout", "logout"),
        ("GET", "/api/auth/me", "me"),
        ("POST", "/api/auth/password", "change-password"),
        ("DELETE", "/api/auth/me", "delete-account"),
        ("GET", "/api/{user_id}/tasks", "list-tasks"),
        ("POST", "/api/{user_id}/tasks", "create-task"),
        ("GET", "/api/{user_id}/tasks/{id}", "get-task"),
        ("PUT", "/api/{user_id}/tasks/{id}", "update-task"),
        ("DELETE", "/api/{user_id}/tasks/{id}", "delete-task"),
        (
            "PATCH",
            "/api/{user_id}/tasks/{id}/complete",
            "complete-task",
        ),
        ("GET", "/health", "health"),
        ("GET", "/", "docs"),
        ("GET", "/docs", "docs"),
        ("GET", "/openapi.json", "docs"),
    ]
    .into_iter()
    .map(|(method, path, function)| (method.to_owned(), path.to_owned(), function.to_owned()))
    .collect()
}

#[test]
fn the_template_the_local_router_the_readme_and_the_contract_name_the_same_routes() {
    assert_eq!(routes_of_the_local_router(), routes_of_the_contract());
    assert_eq!(routes_of_the_template(), routes_of_the_contract());
    assert_eq!(routes_of_the_readme(), routes_of_the_contract());
}

#[test]
fn the_document_describes_every_route_and_no_other() {
    let served: BTreeSet<_> = routes_of_the_local_router()
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    assert_eq!(routes_of_the_document(), served);
}

#[test]
fn every_binary_is_a_function_of_the_template_and_has_a_route_or_none() {
    let deployed: BTreeSet<_> = template::functions()
        .iter()
        .map(|(_, function)| template::binary_of(function))
        .collect();
    assert_eq!(deployed, binaries());
    let routed: BTreeSet<_> = routes_of_the_contract()
        .into_iter()
        .map(|(_, _, function)| function)
        .collect();
    let without: Vec<_> = binaries().difference(&routed).cloned().collect();
    assert_eq!(without, ["migrate", "purge-sessions"]);
}

#[test]
fn expired_sessions_are_purged_on_a_schedule() {
    let schedules = template::functions()
        .into_iter()
        .filter_map(|(_, function)| {
            let events = function["Properties"]["Events"].as_hash()?;
            let schedule = events
                .values()
                .find(|event| event["Type"].as_str() == Some("Schedule"))?;
            Some((
                template::binary_of(&function),
                schedule["Properties"]["Schedule"].as_str()?.to_owned(),
            ))
        });
    assert_eq!(
        schedules.collect::<Vec<_>>(),
        [("purge-sessions".to_owned(), "rate(1 hour)".to_owned())]
    );
}

#[test]
fn the_template_leaves_local_databases_out_and_takes_no_catch_all() {
    let template = read("template.yaml");
    for word in ["ALLOW_LOCAL_DATABASE", "$default", "DefinitionBody"] {
        assert!(!template.contains(word), "{word}");
    }
}

/// The one resource of a type, and what the template says of it.
fn properties_of_the(kind: &str) -> Yaml {
    let mut resources = template::resources(kind);
    assert_eq!(resources.len(), 1, "{kind}");
    resources.remove(0).1["Properties"].clone()
}

#[test]
fn browsers_call_the_api_from_configured_origins_alone_and_send_no_cookies() {
    let api = properties_of_the("AWS::Serverless::HttpApi");
    let cors = &api["CorsConfiguration"];
    // A reference to the parameter, which is a list of exact origins.
    assert_eq!(cors["AllowOrigins"].as_str(), Some("AllowedOrigins"));
    assert!(cors["AllowCredentials"].is_badvalue());
    let settings = read("samconfig.toml");
    let origins = settings
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"AllowedOrigins="));
    let origins: Vec<_> = origins.collect();
    assert_eq!(origins.len(), 2, "{origins:?}");
    for origin in origins {
        assert!(
            origin.starts_with("https://") && !origin.contains('*'),
            "{origin}"
        );
    }
}

#[test]
fn the_gateway_limits_what_hashes_a_password_more_than_the_rest() {
    let api = properties_of_the("AWS::Serverless::HttpApi");
    let limited = api["RouteSettings"].as_hash().expect("routes");
    let limited: BTreeSet<_> = limited
        .iter()
        .map(|(route, settings)| {
            for limit in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
                assert_eq!(settings[limit].as_str(), Some("AuthThrottlingRate"));
            }
            route.as_str().expect("a route").to_owned()
        })
        .collect();
    let hashing = ["register", "login", "change-password", "delete-account"];
    let expected: BTreeSet<_> = routes_of_the_contract()
        .into_iter()
        .filter(|(_, _, function)| hashing.contains(&function.as_str()))
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(limited, expected);
    let others = &api["DefaultRouteSettings"]["ThrottlingRateLimit"];
    assert_eq!(others.as_str(), Some("ThrottlingRate"));
}

#[test]
fn the_functions_may_do_nothing_in_aws_but_write_their_log() {
    let role = properties_of_the("AWS::IAM::Role");
    assert!(role["ManagedPolicyArns"].is_badvalue());
    let policies = role["Policies"].as_vec().expect("policies");
    let statements = policies
        .iter()
        .filter_map(|policy| policy["PolicyDocument"]["Statement"].as_vec())
        .flatten();
    let statements: Vec<_> = statements.collect();
    assert_eq!(statements.len(), 1, "{statements:?}");
    let actions = statements[0]["Action"].as_vec().expect("a list").iter();
    assert_eq!(
        actions.filter_map(Yaml::as_str).collect::<Vec<_>>(),
        ["logs:CreateLogStream", "logs:PutLogEvents"]
    );
    assert_eq!(statements[0]["Resource"].as_str(), Some("FunctionLogs.Arn"));
    for (name, function) in template::functions() {
        let properties = &function["Properties"];
        assert_eq!(
            properties["Role"].as_str(),
            Some("FunctionRole.Arn"),
            "{name}"
        );
        assert!(properties["FunctionUrlConfig"].is_badvalue(), "{name}");
    }
}

#[test]
fn every_log_is_deleted_in_time() {
    let logs = template::resources("AWS::Logs::LogGroup");
    assert_eq!(logs.len(), 2);
    for (name, log) in logs {
        let retention = log["Properties"]["RetentionInDays"].as_str();
        assert_eq!(retention, Some("LogRetentionDays"), "{name}");
    }
}

#[test]
fn no_sqlite_crate_is_in_the_lock_file() {
    let lock = toml("Cargo.lock");
    let names = lock["package"]
        .as_array()
        .expect("packages")
        .iter()
        .filter_map(|package| package["name"].as_str());
    let sqlite: Vec<_> = names.filter(|name| name.contains("sqlite")).collect();
    assert!(sqlite.is_empty(), "{sqlite:?}");
}

#[test]
fn no_database_file_lies_in_the_project() {
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let generated = [".git", "target", ".dev", "node_modules"]
                .iter()
                .any(|name| path.ends_with(name));
            if path.is_dir() && !path.is_symlink() && !generated {
                folders.push(path);
            } else {
                let ending = path.extension().unwrap_or_default();
                assert!(
                    ending != "db" && ending != "sqlite" && ending != "sqlite3",
                    "{}",
                    path.display()
                );
            }
        }
    }
}

/// The folders of the workspace's packages.
fn packages() -> Vec<String> {
    toml("Cargo.toml")["workspace"]["members"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|member| member.as_str().expect("a folder").to_owned())
        .collect()
}

#[test]
fn every_version_stands_in_the_workspaces_table_and_each_there_is_used() {
    let mut used = BTreeSet::new();
    for package in packages() {
        let manifest = toml(&format!("{package}/Cargo.toml"));
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let tables = tables
            .iter()
            .filter_map(|kind| manifest.get(*kind)?.as_table());
        for (name, dependency) in tables.flatten() {
            assert_eq!(
                dependency.get("workspace").and_then(toml::Value::as_bool),
                Some(true),
                "{package}: {name}"
            );
            used.insert(name.clone());
        }
    }
    let manifest = toml("Cargo.toml");
    let table = manifest["workspace"]["dependencies"].as_table();
    let listed: BTreeSet<_> = table.expect("dependencies").keys().cloned().collect();
    assert_eq!(used, listed);
}

#[test]
fn every_package_forbids_unsafe_code() {
    let lints = &toml("Cargo.toml")["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for package in packages() {
        let manifest = toml(&format!("{package}/Cargo.toml"));
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        assert_eq!(
            inherits.and_then(toml::Value::as_bool),
            Some(true),
            "{package}"
        );
    }
}

#[test]
fn the_pipeline_deploys_with_the_sam_that_the_package_is_checked_with() {
    let script = read("dev");
    let version = script
        .lines()
        .find_map(|line| line.strip_prefix("sam_version="))
        .expect("a version");
    let pinned = read(".github/sam-requirements.txt");
    assert!(
        pinned
            .lines()
            .any(|line| line.starts_with(&format!("aws-sam-cli=={version} "))),
        "{version}"
    );
}

#[test]
fn the_deployed_roots_are_in_mozillas_program() {
    let file = read("certificates/neon.pem");
    let mut certificates = file.split("-----BEGIN CERTIFICATE-----");
    let mut name = certificates
        .next()
        .and_then(|text| text.lines().last())
        .expect("a name");
    let mut count = 0;
    for certificate in certificates {
        let (base64, rest) = certificate
            .split_once("-----END CERTIFICATE-----")
            .expect("an end");
        let der = STANDARD.decode(base64.replace('\n', "")).expect("base64");
        let is_trusted = TLS_SERVER_ROOT_CERTS
            .iter()
            .any(|root| root.as_ref() == der);
        assert!(is_trusted, "{name}: take it out of certificates/neon.pem");
        name = rest.trim();
        count += 1;
    }
    assert_eq!(count, 8);
}
