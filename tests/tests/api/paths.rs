//! Manipulated paths that try to reach tasks of other users. They are sent over a plain socket, because an HTTP client
//! would normalise them.

use serde_json::json;
use tests::api::{Api, User};
use tests::skip;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends a request with an unchanged path, and returns the whole response.
async fn send(server: &str, user: &User, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(server).await.expect("a connection");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: 19\r\n\r\n{{\"title\": \"stolen\"}}",
        user.token
    );
    let sent = socket.write_all(request.as_bytes()).await;
    sent.expect("a connection");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn manipulated_paths_do_not_reach_tasks_of_other_users() {
    let base_url = std::env::var("BASE_URL").expect("BASE_URL is not set; run `./dev test`");
    let Some(server) = base_url.strip_prefix("http://") else {
        return skip("manipulated paths", "BASE_URL is not an http:// address");
    };
    let server = server.trim_end_matches('/');
    let api = Api::from_env();
    let (victim, attacker) = (api.register().await, api.register().await);
    let secret = api.create_task(&victim, &json!({"title": "private"})).await;
    let own = api.create_task(&attacker, &json!({"title": "own"})).await;
    let (victim_id, attacker_id, secret_id, own_id) =
        (victim.id, attacker.id, &secret["id"], &own["id"]);
    let digits: Vec<_> = victim_id
        .to_string()
        .bytes()
        .map(|digit| format!("%{digit:02x}"))
        .collect();
    let digits = digits.concat();

    let mut paths = Vec::new();
    for up in [
        "..",
        "%2e%2e",
        ".%2E",
        "..;",
        "..%00",
        "%252e%252e",
        "..%c0%af",
        "%uff0e%uff0e",
    ] {
        for slash in ["/", "%2F", "%2f", "//", "\\", "%5c", "%252f"] {
            paths.push(format!(
                "/api/{attacker_id}{slash}{up}{slash}{victim_id}/tasks"
            ));
            paths.push(format!("/api/{attacker_id}/tasks{slash}{up}{slash}{up}{slash}{victim_id}{slash}tasks{slash}{secret_id}"));
            paths.push(format!(
                "/api/{attacker_id}/tasks/{own_id}{slash}{up}{slash}{secret_id}"
            ));
            paths.push(format!(
                "/api/{victim_id}{slash}{up}{slash}{attacker_id}/tasks/{secret_id}"
            ));
        }
    }
    for id in [
        format!("{victim_id}%20"),
        format!("{victim_id};{attacker_id}"),
        format!("{attacker_id},{victim_id}"),
        digits,
    ] {
        paths.push(format!("/api/{id}/tasks"));
        paths.push(format!("/api/{id}/tasks/{secret_id}"));
    }
    paths.push(format!(
        "/api/{attacker_id}/tasks/{secret_id}?user_id={victim_id}"
    ));
    paths.push(format!(
        "/api/{attacker_id}/tasks?user_id={victim_id}&user_id={attacker_id}"
    ));
    paths.push(format!("//api/{victim_id}/tasks/{secret_id}"));
    paths.push(format!("{base_url}/api/{victim_id}/tasks/{secret_id}"));

    let answer = send(server, &victim, "GET", &victim.task_path(secret_id)).await;
    assert!(answer.contains("private"), "{answer}");

    for path in &paths {
        let complete = format!("{path}/complete");
        for (method, path) in [
            ("GET", path),
            ("PUT", path),
            ("DELETE", path),
            ("PATCH", &complete),
        ] {
            let answer = send(server, &attacker, method, path).await;
            assert!(!answer.contains("private"), "{method} {path}: {answer}");
            assert!(
                answer.starts_with("HTTP/1.1 ") && !answer.starts_with("HTTP/1.1 5"),
                "{method} {path}: {answer}"
            );
        }
    }
    let tasks = api.call(&victim, "GET", &victim.tasks_path(), None).await;
    assert_eq!(tasks.expect(200), json!([secret]));
}
