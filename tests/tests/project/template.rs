//! What template.yaml has to say: schedules, origins, limits and permissions.

use std::collections::BTreeSet;

use tests::openapi::operations;
use tests::{read, template};
use yaml_rust2::Yaml;

use crate::files::{project_files, try_read};
use crate::openapi::is_rate_limited;

/// The properties of the only resource of a type.
fn properties_of_only(kind: &str) -> Yaml {
    let mut resources = template::resources(kind);
    assert_eq!(resources.len(), 1, "{kind}");
    resources.remove(0).1["Properties"].clone()
}

#[test]
fn expired_sessions_are_purged_on_a_schedule() {
    let functions = template::functions().into_iter();
    let schedules = functions.filter_map(|(_, function)| {
        let events = function["Properties"]["Events"].as_hash()?;
        let schedule = events
            .values()
            .find(|event| event["Type"].as_str() == Some("Schedule"))?;
        let schedule = schedule["Properties"]["Schedule"].as_str()?.to_owned();
        Some((template::binary_of(&function), schedule))
    });
    assert_eq!(
        schedules.collect::<Vec<_>>(),
        [("purge-sessions".to_owned(), "rate(1 hour)".to_owned())]
    );
}

#[test]
fn no_local_database_and_no_catch_all_route() {
    let template = read("template.yaml");
    for word in ["ALLOW_LOCAL_DATABASE", "$default", "DefinitionBody"] {
        assert!(!template.contains(word), "{word}");
    }
}

#[test]
fn cors_allows_configured_origins_without_credentials() {
    let api = properties_of_only("AWS::Serverless::HttpApi");
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
fn the_gateway_has_a_lower_limit_for_rate_limited_routes() {
    let api = properties_of_only("AWS::Serverless::HttpApi");
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
    let mut rate_limited = operations();
    rate_limited.retain(is_rate_limited);
    let expected = rate_limited
        .iter()
        .map(|operation| format!("{} {}", operation.method, operation.path));
    assert_eq!(limited, expected.collect());
    let functions: BTreeSet<_> = rate_limited
        .iter()
        .map(|operation| operation.function.as_str())
        .collect();
    // The functions that hash a password, which costs much more than any other request.
    let hashing = ["change-password", "delete-account", "login", "register"];
    assert_eq!(functions.into_iter().collect::<Vec<_>>(), hashing);
    let others = &api["DefaultRouteSettings"]["ThrottlingRateLimit"];
    assert_eq!(others.as_str(), Some("ThrottlingRate"));
}

#[test]
fn the_functions_may_only_write_their_log() {
    let role = properties_of_only("AWS::IAM::Role");
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
        let role = properties["Role"].as_str();
        assert_eq!(role, Some("FunctionRole.Arn"), "{name}");
        assert!(properties["FunctionUrlConfig"].is_badvalue(), "{name}");
    }
}

#[test]
fn every_log_group_has_a_retention_time() {
    let logs = template::resources("AWS::Logs::LogGroup");
    assert_eq!(logs.len(), 2);
    for (name, log) in logs {
        let retention = log["Properties"]["RetentionInDays"].as_str();
        assert_eq!(retention, Some("LogRetentionDays"), "{name}");
    }
}

#[test]
fn the_pipeline_and_dev_use_the_same_version_of_sam() {
    let files = project_files().into_iter();
    let scripts = files.filter(|path| path == "dev" || path.starts_with("scripts/"));
    let version = scripts
        .filter_map(|path| try_read(&path).ok())
        .find_map(|script| {
            let mut lines = script.lines();
            let version = lines.find_map(|line| line.strip_prefix("sam_version="))?;
            Some(version.to_owned())
        });
    let version = version.expect("a line `sam_version=…` in dev or scripts/");
    let pinned = read(".github/sam-requirements.txt");
    let expected = format!("aws-sam-cli=={version} ");
    assert!(
        pinned.lines().any(|line| line.starts_with(&expected)),
        "{version}"
    );
}
