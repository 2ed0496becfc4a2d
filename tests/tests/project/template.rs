//! What template.yaml has to say: schedules, origins, limits and permissions.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use tests::openapi::{Operation, operations};
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

/// The default of a parameter that is a number.
fn default_of(parameter: &str) -> i64 {
    let parameters = template::section("Parameters");
    let default = parameters[parameter]["Default"].as_i64();
    default.unwrap_or_else(|| panic!("{parameter} has no default"))
}

/// The parameter that is the rate and the burst limit of routes.
fn limit_of(settings: &Yaml) -> String {
    let limits = ["ThrottlingRateLimit", "ThrottlingBurstLimit"];
    let [rate, burst] = limits.map(|limit| settings[limit].as_str().expect("a parameter"));
    assert_eq!(rate, burst);
    rate.to_owned()
}

#[test]
fn the_gateway_limits_routes_by_what_they_cost() {
    let api = properties_of_only("AWS::Serverless::HttpApi");
    let routes = api["RouteSettings"].as_hash().expect("routes").iter();
    let limits: BTreeMap<_, _> = routes
        .map(|(route, settings)| (route.as_str().expect("a route"), limit_of(settings)))
        .collect();
    let routes_with = |parameter: &str| {
        let routes = limits.iter().filter(|(_, limit)| *limit == parameter);
        routes.map(|(route, _)| (*route).to_owned()).collect()
    };
    let operations = operations();
    let routes_of = |is_one: &dyn Fn(&Operation) -> bool| -> BTreeSet<_> {
        let operations = operations.iter().filter(|operation| is_one(operation));
        operations
            .map(|operation| format!("{} {}", operation.method, operation.path))
            .collect()
    };
    let hashing = routes_of(&is_rate_limited);
    assert_eq!(hashing, routes_with("AuthThrottlingRate"));
    let lists = routes_of(&|operation| operation.function == "list-tasks");
    assert_eq!(lists, routes_with("ListThrottlingRate"));
    let documents = ["GET /docs", "GET /openapi.json"].map(str::to_owned);
    let documents = BTreeSet::from(documents);
    assert_eq!(documents, routes_with("DocumentThrottlingRate"));
    let count = hashing.len() + lists.len() + documents.len();
    assert_eq!(limits.len(), count, "{limits:?}");

    let others = limit_of(&api["DefaultRouteSettings"]);
    assert_eq!(others, "ThrottlingRate");
    for limit in limits.values() {
        assert!(default_of(limit) < default_of(&others), "{limit}");
    }
    // Ten junk requests a second from one client must not keep all others from logging in.
    assert!(default_of("AuthThrottlingRate") >= 50);

    // The functions that hash a password, which costs much more than any other request.
    let functions = operations
        .iter()
        .filter(|operation| is_rate_limited(operation));
    let functions: BTreeSet<_> = functions
        .map(|operation| operation.function.as_str())
        .collect();
    let hashing = [
        "change-password",
        "create-token",
        "delete-account",
        "login",
        "register",
    ];
    assert!(functions.into_iter().eq(hashing));
}

#[test]
fn the_functions_may_only_write_their_log() {
    let role = properties_of_only("AWS::IAM::Role");
    assert!(role["ManagedPolicyArns"].is_badvalue());
    let policies = role["Policies"].as_vec().expect("policies");
    assert_eq!(policies.len(), 2, "{policies:?}");
    let statement = |policy: &Yaml| {
        let statements = policy["PolicyDocument"]["Statement"].as_vec();
        let [statement] = &statements.expect("statements")[..] else {
            panic!("{policy:?}");
        };
        let actions = statement["Action"].as_vec().expect("a list").iter();
        let actions = actions.filter_map(Yaml::as_str).collect::<Vec<_>>();
        (actions.join(" "), statement["Resource"].clone())
    };
    let (actions, resource) = statement(&policies[0]);
    assert_eq!(actions, "logs:CreateLogStream logs:PutLogEvents");
    assert_eq!(resource.as_str(), Some("FunctionLogs.Arn"));
    // A condition of the role itself, so that it has the second policy before Lambda is told to trace.
    let condition = policies[1].as_vec().expect("a condition");
    assert_eq!(condition[0].as_str(), Some("IsTraced"));
    let (actions, _) = statement(&condition[1]);
    assert_eq!(actions, "xray:PutTraceSegments xray:PutTelemetryRecords");
    assert_eq!(condition[2].as_str(), Some("AWS::NoValue"));
    assert!(template::resources("AWS::IAM::Policy").is_empty());
    for (name, function) in template::functions() {
        let properties = &function["Properties"];
        let role = properties["Role"].as_str();
        assert_eq!(role, Some("FunctionRole.Arn"), "{name}");
        assert!(properties["FunctionUrlConfig"].is_badvalue(), "{name}");
    }
}

#[test]
fn every_log_group_has_a_retention_time_and_outlives_the_stack() {
    let logs = template::resources("AWS::Logs::LogGroup");
    assert_eq!(logs.len(), 2);
    for (name, log) in logs {
        let retention = log["Properties"]["RetentionInDays"].as_str();
        assert_eq!(retention, Some("LogRetentionDays"), "{name}");
        let deletion = log["DeletionPolicy"].as_str();
        assert_eq!(deletion, Some("RetainExceptOnCreate"), "{name}");
        assert_eq!(
            log["UpdateReplacePolicy"].as_str(),
            Some("Retain"),
            "{name}"
        );
    }
}

#[test]
fn tags_are_those_of_the_stack() {
    // A changed tag of a function would make SAM publish a version that Lambda refuses.
    let template = read("template.yaml");
    assert!(!template.contains("Tags:"));
    let settings: toml::Table = read("samconfig.toml").parse().expect("TOML");
    for stage in ["default", "staging", "production"] {
        let tags = &settings[stage]["deploy"]["parameters"]["tags"];
        let tags = tags.as_array().expect("tags");
        assert!(tags.len() >= 2, "{stage}: {tags:?}");
    }
}

#[test]
fn every_parameter_in_samconfig_is_valid() {
    let parameters = template::section("Parameters");
    let settings: toml::Table = read("samconfig.toml").parse().expect("TOML");
    for stage in ["staging", "production"] {
        let overrides = &settings[stage]["deploy"]["parameters"]["parameter_overrides"];
        for text in overrides.as_array().expect("a list") {
            let text = text.as_str().expect("a text");
            let (name, value) = text.split_once('=').expect("NAME=VALUE");
            let parameter = &parameters[name];
            assert!(!parameter.is_badvalue(), "{stage}: {name}");
            // SAM splits an entry at blanks.
            assert!(!value.contains(' '), "{stage}: {text}");
            if let Some(allowed) = parameter["AllowedValues"].as_vec() {
                let is_allowed = allowed.iter().any(|allowed| text_of(allowed) == value);
                assert!(is_allowed, "{stage}: {text}");
            }
            if let Some(pattern) = parameter["AllowedPattern"].as_str() {
                let pattern = Regex::new(&format!("^({pattern})$")).expect("a pattern");
                let is_list = parameter["Type"].as_str() == Some("CommaDelimitedList");
                let items = value.split(',').filter(|_| is_list);
                let items: Vec<_> = items.chain((!is_list).then_some(value)).collect();
                assert!(items.iter().all(|item| pattern.is_match(item)), "{text}");
            }
        }
    }
}

fn text_of(value: &Yaml) -> String {
    match value {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        _ => panic!("{value:?}"),
    }
}

#[test]
fn only_exact_origins_are_accepted() {
    let parameters = template::section("Parameters");
    let pattern = &parameters["AllowedOrigins"]["AllowedPattern"];
    let pattern = pattern.as_str().expect("a pattern");
    let pattern = Regex::new(&format!("^({pattern})$")).expect("a pattern");
    for origin in ["https://todo.example.com", "http://localhost:3000"] {
        assert!(pattern.is_match(origin), "{origin}");
    }
    for origin in [
        "*",
        "",
        " https://todo.example.com",
        "https://todo.example.com/",
        "https://*.example.com",
        "todo.example.com",
        "null",
    ] {
        assert!(!pattern.is_match(origin), "{origin}");
    }
}

#[test]
fn browsers_may_send_the_headers_of_tracing_libraries() {
    let api = properties_of_only("AWS::Serverless::HttpApi");
    let allowed = &api["CorsConfiguration"]["AllowHeaders"];
    assert_eq!(allowed.as_str(), Some("AllowedHeaders"));
    let parameters = template::section("Parameters");
    let default = parameters["AllowedHeaders"]["Default"].as_str();
    let default: Vec<_> = default.expect("a default").split(',').collect();
    for header in [
        "authorization",
        "content-type",
        "traceparent",
        "tracestate",
        "sentry-trace",
        "baggage",
        "if-match",
        "if-none-match",
        "idempotency-key",
    ] {
        assert!(default.contains(&header), "{header}");
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
