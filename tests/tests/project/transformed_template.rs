//! What CloudFormation makes of template.yaml: versions, references to secrets, alarms.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};
use tests::template::{packaged, section, transform};

/// How many references to secrets CloudFormation allows in a stack.
const MAX_REFERENCES: usize = 60;

/// How many characters the description of a version may have.
const MAX_DESCRIPTION_CHARS: usize = 256;

static TEMPLATE: LazyLock<Value> = LazyLock::new(|| transform(&packaged()));

fn resources<'a>(template: &'a Value, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let resources = template["Resources"].as_object().expect("resources");
    resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == kind)
        .map(|(name, resource)| (name.as_str(), resource))
        .collect()
}

fn references(value: &Value) -> usize {
    value.to_string().matches("{{resolve:").count()
}

/// The version of a function.
fn version_of<'a>(template: &'a Value, function: &str) -> (&'a str, &'a Value) {
    let versions = resources(template, "AWS::Lambda::Version");
    let mut versions = versions
        .into_iter()
        .filter(|(_, version)| version["Properties"]["FunctionName"]["Ref"] == function);
    versions.next().unwrap_or_else(|| panic!("{function}"))
}

/// The parameters that a value depends on, also by way of conditions.
fn parameters_in(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    match value {
        Value::String(text) => {
            let variable = Regex::new(r"\$\{(\w+)\}").expect("a pattern");
            names.extend(
                variable
                    .captures_iter(text)
                    .map(|found| found[1].to_owned()),
            );
        }
        Value::Array(values) => names.extend(values.iter().flat_map(parameters_in)),
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("Ref", Value::String(name)) => {
                        names.insert(name.clone());
                    }
                    ("Fn::If", Value::Array(parts)) => {
                        let condition = parts[0].as_str().expect("a condition");
                        names.extend(parameters_in(&TEMPLATE["Conditions"][condition]));
                        names.extend(parts[1..].iter().flat_map(parameters_in));
                    }
                    _ => names.extend(parameters_in(value)),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    names.retain(|name| TEMPLATE["Parameters"].get(name).is_some());
    names
}

#[test]
fn secrets_of_forty_functions_fit_into_a_stack() {
    for (name, function) in resources(&TEMPLATE, "AWS::Lambda::Function") {
        let expected = match name {
            "DocsFunction" => 0,
            // Its own, and that of the functions, which it checks.
            "MigrateFunction" => 2,
            _ => 1,
        };
        assert_eq!(references(function), expected, "{name}");
    }

    let template = packaged();
    let (start, rest) = template.split_once("  GetTaskFunction:\n").expect("it");
    let (function, _) = rest.split_once("\n\n").expect("an end");
    let mut more = String::new();
    for number in resources(&TEMPLATE, "AWS::Lambda::Function").len()..40 {
        let path = "/api/{user_id}/tasks/{id}";
        let function = function.replace(path, &format!("{path}/{number}"));
        writeln!(more, "  Another{number}Function:\n{function}\n").expect("memory");
    }
    let template = transform(&format!("{start}{more}  GetTaskFunction:\n{rest}"));
    assert_eq!(resources(&template, "AWS::Lambda::Function").len(), 40);
    let count = references(&template);
    assert!(count <= MAX_REFERENCES, "{count}");
    let resources = template["Resources"].as_object().expect("resources");
    assert!(resources.len() <= 500, "{}", resources.len());
}

#[test]
fn only_functions_refer_to_secrets() {
    let functions = resources(&TEMPLATE, "AWS::Lambda::Function");
    let count: usize = functions
        .values()
        .map(|function| references(function))
        .sum();
    assert_eq!(references(&TEMPLATE), count);
}

#[test]
fn the_purge_gets_no_key_that_signs_tokens() {
    let function = &TEMPLATE["Resources"]["PurgeSessionsFunction"]["Properties"];
    let variables = &function["Environment"]["Variables"];
    assert_eq!(variables["SETTINGS_JSON"], json!({"Ref": "AWS::NoValue"}));
    let url = variables["DATABASE_URL"]["Fn::Sub"]
        .as_str()
        .expect("a text");
    assert!(url.ends_with(":SecretString:DATABASE_URL}}"), "{url}");
}

#[test]
fn other_certificates_publish_new_versions() {
    let other = packaged().replace("s3://bucket/certificates", "s3://bucket/other");
    let other = transform(&other);
    for name in resources(&TEMPLATE, "AWS::Lambda::Function").keys() {
        let (before, _) = version_of(&TEMPLATE, name);
        let (after, _) = version_of(&other, name);
        assert_ne!(before, after, "{name}");
    }
}

#[test]
fn earlier_versions_are_deleted() {
    for (name, version) in resources(&TEMPLATE, "AWS::Lambda::Version") {
        assert_eq!(version["DeletionPolicy"], "Delete", "{name}");
        // What replaces a version, such as another description, deletes the previous one by default.
        assert!(version.get("UpdateReplacePolicy").is_none(), "{name}");
    }
}

#[test]
fn every_parameter_that_reaches_a_function_publishes_a_version() {
    for (name, function) in resources(&TEMPLATE, "AWS::Lambda::Function") {
        let mut expected = parameters_in(&function["Properties"]);
        // `sam build` needs it too, and makes other code.
        expected.remove("Architecture");
        if name == "MigrateFunction" {
            // They are none of its business, and its description would become too long.
            expected.remove("AttemptLimits");
            expected.remove("AccountLimits");
        }
        let (_, version) = version_of(&TEMPLATE, name);
        let described = parameters_in(&version["Properties"]["Description"]);
        let missing: Vec<_> = expected.difference(&described).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

#[test]
fn limits_are_parameters_with_the_defaults_of_the_functions() {
    let example = tests::read(".env.example");
    let default_of = |setting: &str| {
        let line = format!("#{setting}=");
        let mut lines = example.lines();
        let default = lines.find_map(|text| text.strip_prefix(line.as_str()));
        default
            .unwrap_or_else(|| panic!("{setting} is not in .env.example"))
            .to_owned()
    };
    for (parameter, settings) in [
        (
            "AttemptLimits",
            &[
                "MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS",
                "MAX_FAILED_LOGINS_PER_ACCOUNT",
                "MAX_FAILED_LOGINS_PER_ADDRESS",
                "MAX_REGISTRATIONS_PER_ADDRESS",
            ][..],
        ),
        (
            "AccountLimits",
            &["MAX_TASKS_PER_ACCOUNT", "MAX_BYTES_PER_ACCOUNT"],
        ),
    ] {
        let defaults: Vec<_> = settings.iter().map(|setting| default_of(setting)).collect();
        let declared = &TEMPLATE["Parameters"][parameter];
        assert_eq!(declared["Default"], defaults.join(","), "{parameter}");
        let pattern = declared["AllowedPattern"].as_str().expect("a pattern");
        let pattern = Regex::new(&format!("^({pattern})$")).expect("a pattern");
        assert!(pattern.is_match(&defaults.join(",")), "{parameter}");
        assert!(!pattern.is_match(&defaults.join(",0")), "{parameter}");
        for (name, function) in resources(&TEMPLATE, "AWS::Lambda::Function") {
            let variables = &function["Properties"]["Environment"]["Variables"];
            for (index, setting) in settings.iter().enumerate() {
                let parts = json!({"Fn::Split": [",", {"Ref": parameter}]});
                let expected = json!({"Fn::Select": [index, parts]});
                assert_eq!(variables[*setting], expected, "{name}: {setting}");
            }
        }
    }
}

#[test]
fn every_description_of_a_version_fits() {
    let parameters = section("Parameters");
    for (name, version) in resources(&TEMPLATE, "AWS::Lambda::Version") {
        let description = &version["Properties"]["Description"];
        let blanks = description["Fn::Sub"].as_str().expect("a text");
        let mut longest = blanks.matches(' ').count();
        for parameter in parameters_in(description) {
            let declared = &parameters[parameter.as_str()];
            let values = declared["AllowedValues"].as_vec();
            let values = values.map(|values| values.iter().filter_map(|value| value.as_str()));
            let of_values = values.and_then(|values| values.map(str::len).max());
            let of_length = declared["MaxLength"].as_i64();
            let of_number = declared["MaxValue"].as_i64();
            longest += of_values
                .or(of_length.and_then(|length| length.try_into().ok()))
                .or(of_number.map(|number| number.to_string().len()))
                .unwrap_or_else(|| panic!("{parameter} has no MaxLength or MaxValue"));
        }
        assert!(longest <= MAX_DESCRIPTION_CHARS, "{name}: {longest}");
    }
}

#[test]
fn a_single_server_error_stops_a_deployment() {
    for (name, group) in resources(&TEMPLATE, "AWS::CodeDeploy::DeploymentGroup") {
        let alarms = &group["Properties"]["AlarmConfiguration"]["Fn::If"];
        assert_eq!(alarms[0], "ShiftsTraffic", "{name}");
        let expected = json!([{"Name": {"Ref": "DeploymentAlarm"}}]);
        assert_eq!(alarms[1]["Alarms"], expected, "{name}");
    }
    let alarm = &TEMPLATE["Resources"]["DeploymentAlarm"]["Properties"];
    assert_eq!(alarm["Threshold"], json!({"Ref": "DeploymentErrorLimit"}));
    assert_eq!(TEMPLATE["Parameters"]["DeploymentErrorLimit"]["Default"], 1);
    assert_eq!(
        (&alarm["Period"], &alarm["EvaluationPeriods"]),
        (&json!(60), &json!(1))
    );
}

#[test]
fn every_alarm_but_that_of_deployments_tells_someone() {
    let topics = json!([
        {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopic"}, {"Ref": "AWS::NoValue"}]},
        {"Fn::If": ["HasAlarmEmail", {"Ref": "AlarmMails"}, {"Ref": "AWS::NoValue"}]},
    ]);
    let mut silent = Vec::new();
    for (name, alarm) in resources(&TEMPLATE, "AWS::CloudWatch::Alarm") {
        if alarm["Properties"]["AlarmActions"] != topics {
            silent.push(name);
        }
    }
    assert_eq!(silent, ["DeploymentAlarm"]);
    let topic = &TEMPLATE["Resources"]["AlarmMails"];
    assert_eq!(topic["Condition"], "HasAlarmEmail");
    let subscription = &topic["Properties"]["Subscription"][0];
    assert_eq!(subscription["Endpoint"], json!({"Ref": "AlarmEmail"}));
}

/// Evaluates an expression of CloudWatch for one point in time.
const EVALUATE: &str = "
import sys
expression, errors, requests = sys.argv[1:]
names = {'errors': int(errors), 'requests': int(requests), 'IF': lambda when, then, other: then if when else other}
print(eval(expression.replace(' OR ', ' or '), names))";

#[test]
fn a_quiet_stack_that_is_wholly_down_rings() {
    let alarm = &TEMPLATE["Resources"]["GatewayErrorsAlarm"]["Properties"];
    let expression = alarm["Metrics"][0]["Expression"].as_str().expect("a text");
    let threshold = alarm["Threshold"].as_f64().expect("a number");
    // In five minutes: errors, requests, and whether the alarm rings.
    for (errors, requests, rings) in [
        (1, 1, true),
        (2, 2, true),
        (15, 15, true),
        (3, 15, true),
        (1_000, 10_000, true),
        (0, 1, false),
        (1, 15, false),
        (3, 10_000, false),
    ] {
        let numbers = [errors.to_string(), requests.to_string()];
        let mut python = Command::new("python3");
        let output = python
            .args(["-c", EVALUATE, expression])
            .args(numbers)
            .output();
        let output = output.expect("python3");
        let rate = String::from_utf8_lossy(&output.stdout);
        let rate: f64 = rate.trim().parse().expect("a number");
        assert_eq!(rate > threshold, rings, "{errors} of {requests}: {rate}");
    }
}

#[test]
fn a_purge_that_never_runs_rings() {
    let alarm = &TEMPLATE["Resources"]["PurgeAlarm"]["Properties"];
    assert_eq!(alarm["TreatMissingData"], "breaching");
    assert_eq!(alarm["ComparisonOperator"], "LessThanThreshold");
}

#[test]
fn refusals_ring_at_the_gateway_and_by_kind_in_the_log() {
    let filters = resources(&TEMPLATE, "AWS::Logs::MetricFilter");
    for (name, metric, log) in [
        ("GatewayRefusals", "RefusedByGateway", "AccessLogs"),
        ("RefusedLogins", "RefusedLogins", "FunctionLogs"),
        (
            "RefusedRegistrations",
            "RefusedRegistrations",
            "FunctionLogs",
        ),
    ] {
        let filter = &filters[name]["Properties"];
        assert!(
            filter["FilterPattern"]
                .as_str()
                .expect("a text")
                .contains("429")
        );
        assert_eq!(filter["LogGroupName"], json!({"Ref": log}));
        assert_eq!(filter["MetricTransformations"][0]["MetricName"], metric);
        let alarms = resources(&TEMPLATE, "AWS::CloudWatch::Alarm");
        let mut alarms = alarms.values();
        assert!(
            alarms.any(|alarm| alarm["Properties"]["MetricName"] == metric),
            "{metric}"
        );
    }
}

#[test]
fn the_dashboard_quotes_the_namespace_in_its_search() {
    let body = &TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"];
    let body = body
        .as_str()
        .expect("a text")
        .replace("${AWS::StackName}", "todo-production");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let body = body.to_string();
    // CloudWatch splits words at hyphens, unless they are in quotes.
    assert!(
        body.contains(r#"SEARCH('{\"todo-production\",error} "#),
        "{body}"
    );
}

#[test]
fn the_access_log_has_a_name_for_vended_logs_and_for_each_stack() {
    let log = &TEMPLATE["Resources"]["AccessLogs"]["Properties"]["LogGroupName"]["Fn::Sub"];
    let name = log[0].as_str().expect("a text");
    assert!(name.starts_with("/aws/vendedlogs/"), "{name}");
    assert!(log[1].to_string().contains("AWS::StackId"), "{log}");
}

#[test]
fn a_domain_name_is_optional() {
    for (name, condition) in [
        ("Domain", "HasDomain"),
        ("DomainMapping", "HasDomain"),
        ("DomainRecord", "HasHostedZone"),
    ] {
        assert_eq!(TEMPLATE["Resources"][name]["Condition"], condition);
    }
    for parameter in ["DomainName", "CertificateArn", "HostedZoneId"] {
        assert_eq!(
            TEMPLATE["Parameters"][parameter]["Default"], "",
            "{parameter}"
        );
    }
    let url = &TEMPLATE["Outputs"]["ApiUrl"]["Value"]["Fn::If"];
    assert_eq!(url[0], "HasDomain");
    assert_eq!(url[1]["Fn::Sub"], "https://${DomainName}");
}

/// The policy in docs/deployment.md for the role that deploys, which is the only JSON there.
fn deployment_policy() -> Value {
    let document = tests::read("docs/deployment.md");
    let mut blocks = document.split("```json\n").skip(1);
    let block = blocks.next().and_then(|rest| rest.split("```").next());
    assert!(blocks.next().is_none(), "docs/deployment.md has more JSON");
    serde_json::from_str(block.expect("a block")).expect("JSON")
}

#[test]
fn the_deployment_policy_allows_every_kind_of_resource() {
    let policy = deployment_policy();
    let statements = policy["Statement"].as_array().expect("statements");
    let allowed = |action: &str, condition: &str| {
        statements.iter().any(|statement| {
            statement["Action"]
                .to_string()
                .contains(&format!("\"{action}\""))
                && statement["Condition"].to_string().contains(condition)
        })
    };
    let resources = TEMPLATE["Resources"].as_object().expect("resources");
    for resource in resources.values() {
        let kind = resource["Type"].as_str().expect("a type");
        let action = match kind {
            "AWS::ApiGatewayV2::Api"
            | "AWS::ApiGatewayV2::ApiMapping"
            | "AWS::ApiGatewayV2::DomainName"
            | "AWS::ApiGatewayV2::Stage" => "apigateway:POST",
            "AWS::CloudFormation::CustomResource" => "lambda:InvokeFunction",
            "AWS::CloudWatch::Alarm" => "cloudwatch:PutMetricAlarm",
            "AWS::CloudWatch::Dashboard" => "cloudwatch:PutDashboard",
            "AWS::CodeDeploy::Application" => "codedeploy:CreateApplication",
            "AWS::CodeDeploy::DeploymentGroup" => "codedeploy:CreateDeploymentGroup",
            "AWS::Events::Rule" => "events:PutRule",
            "AWS::IAM::Role" => "iam:CreateRole",
            "AWS::Lambda::Alias" => "lambda:CreateAlias",
            "AWS::Lambda::EventInvokeConfig" => "lambda:PutFunctionEventInvokeConfig",
            "AWS::Lambda::Function" => "lambda:CreateFunction",
            "AWS::Lambda::LayerVersion" => "lambda:PublishLayerVersion",
            "AWS::Lambda::Permission" => "lambda:AddPermission",
            "AWS::Lambda::Version" => "lambda:PublishVersion",
            "AWS::Logs::LogGroup" => "logs:CreateLogGroup",
            "AWS::Logs::MetricFilter" => "logs:PutMetricFilter",
            "AWS::SNS::Topic" => "sns:CreateTopic",
            // Only for a domain name in Route 53; the document has it beside the policy.
            "AWS::Route53::RecordSet" => continue,
            _ => panic!("the policy in docs/deployment.md lacks {kind}, and so does this test"),
        };
        assert!(allowed(action, ""), "{action} for {kind}");
        for policy in resource["Properties"]["ManagedPolicyArns"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let policy = policy.as_str().expect("a policy");
            let (_, name) = policy.split_once(":iam::").expect("an ARN");
            assert!(allowed("iam:AttachRolePolicy", name), "{policy}");
        }
    }
    let bytes = policy.to_string().len();
    assert!(
        bytes <= 10_240,
        "{bytes}: too much for the inline policies of a role"
    );
}

#[test]
fn names_in_the_deployment_policy_are_those_of_the_stack() {
    let template = &TEMPLATE["Resources"];
    let dashboard = &template["Dashboard"]["Properties"]["DashboardName"];
    assert_eq!(dashboard, &json!({"Ref": "AWS::StackName"}));
    let layers = resources(&TEMPLATE, "AWS::Lambda::LayerVersion");
    for layer in layers.values() {
        let name = &layer["Properties"]["LayerName"];
        assert_eq!(name, &json!({"Fn::Sub": "${AWS::StackName}-certificates"}));
    }
}
