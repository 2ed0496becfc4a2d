//! The list of tasks: filters, search, orders and pages.

use reqwest::Url;
use serde_json::{Value, json};
use tests::api::{Api, Response, User};

const SORTS: [&str; 12] = [
    "id",
    "-id",
    "due_date",
    "-due_date",
    "priority",
    "-priority",
    "created_at",
    "-created_at",
    "updated_at",
    "-updated_at",
    "title",
    "-title",
];

/// A user with the tasks that the tests ask for. Their descriptions are their numbers.
async fn user_with_tasks(api: &Api) -> User {
    let user = api.register().await;
    for (number, mut task) in [
        json!({"title": "Äpfel kaufen", "tags": "Home, Einkauf", "due_date": "2026-11-23", "priority": "High"}),
        json!({"title": "apples", "tags": "home", "due_date": "2026-11-23T09:00:00", "completed": true}),
        json!({"title": "50% off_er", "tags": " WORK ,home,\u{a0}Straße", "due_date": "2026-12-01", "priority": "Low"}),
        json!({"title": "Zebra", "due_date": "tomorrow", "priority": "High", "completed": true}),
        json!({"title": "apples", "tags": "homework,to do", "due_date": null}),
        json!({"title": "ΟΔΟΣ", "tags": "", "due_date": "2026-02-30", "priority": "Low"}),
        json!({"title": "a\u{308}pfel, decomposed", "due_date": "2024-02-29 or so"}),
    ]
    .into_iter()
    .enumerate()
    {
        task["description"] = json!((number + 1).to_string());
        api.create_task(&user, &task).await;
    }
    user
}

/// The numbers of the tasks in a list.
#[track_caller]
fn numbers(list: &Value) -> Vec<u8> {
    let tasks = list.as_array().expect("a list").iter();
    tasks
        .map(|task| {
            task["description"]
                .as_str()
                .expect("a number")
                .parse()
                .expect("a number")
        })
        .collect()
}

async fn get(api: &Api, user: &User, query: &str) -> Response {
    api.call(user, "GET", &format!("{}?{query}", user.tasks_path()), None)
        .await
}

/// The query of the next page.
#[track_caller]
fn next(response: &Response) -> Option<String> {
    let link = response.headers.get("link")?.to_str().expect("ASCII");
    let query = link
        .strip_prefix("<?")
        .and_then(|link| link.strip_suffix(">; rel=\"next\""));
    Some(
        query
            .unwrap_or_else(|| panic!("no link to the next page: {link}"))
            .to_owned(),
    )
}

/// All tasks, page by page.
async fn walk(api: &Api, user: &User, query: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut query = Some(query.to_owned());
    while let Some(page) = query {
        let response = get(api, user, &page).await;
        let tasks = response.expect(200);
        let tasks = tasks.as_array().expect("a list");
        assert!(
            !tasks.is_empty() || found.is_empty(),
            "an empty page: {page}"
        );
        found.extend(tasks.iter().cloned());
        assert!(found.len() < 1000, "pages without end");
        query = next(&response);
    }
    found
}

#[tokio::test]
async fn a_due_date_counts_where_its_text_begins_with_a_date_that_exists() {
    let api = Api::from_env();
    let user = api.register().await;
    let dates = [
        "0001-01-01",
        "1899-12-31",
        "1900-01-01",
        "2000-02-29",
        "2024-02-29",
        "2026-12-31T23:59",
        "2199-12-31",
        "2200-01-01",
        "2400-02-29",
        "9999-12-31",
        "9999-12-31é",
    ];
    let others = [
        "",
        "1900-02-29",
        "2023-02-29",
        "2100-02-29 or so",
        "2026-00-10",
        "2026-02-30",
        "2026-04-31",
        "2026-1-10",
        "2026-13-01",
        "2026-12-310",
        "2026/12/31",
        " 2026-12-31",
        "02026-12-31",
        "20é6-12-31",
        "2026-12-3é",
        "٢٠٢٦-12-31",
    ];
    for due_date in dates.into_iter().rev().chain(others) {
        let task = json!({"title": "A task", "due_date": due_date});
        api.create_task(&user, &task).await;
    }

    // The others keep the order of their ids.
    let all = [&dates[..], &others].concat();
    for (query, expected) in [
        ("due_from=0001-01-01&sort=due_date", &dates[..]),
        ("due_to=9999-12-31&sort=due_date", &dates),
        ("sort=due_date&limit=3", &all),
    ] {
        let found = walk(&api, &user, query).await;
        let found: Vec<_> = found.iter().map(|task| &task["due_date"]).collect();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn each_parameter_selects_the_tasks_that_it_names() {
    let api = Api::from_env();
    let user = user_with_tasks(&api).await;
    for (query, expected) in [
        ("", &[1, 2, 3, 4, 5, 6, 7][..]),
        ("other=1&Completed=true", &[1, 2, 3, 4, 5, 6, 7]),
        ("completed=true", &[2, 4]),
        ("completed=OFF", &[1, 3, 5, 6, 7]),
        ("priority=High", &[1, 4]),
        ("priority=Low&priority=High", &[1, 3, 4, 6]),
        ("tag=HOME", &[1, 2, 3]),
        ("tag=home&tag=work", &[3]),
        ("tag=strasse", &[3]),
        ("tag=TO+DO", &[5]),
        ("tag=hom", &[]),
        ("tag=home,work", &[]),
        ("tag=%25", &[]),
        ("due_from=2026-11-23&due_to=2026-11-23", &[1, 2]),
        ("due_from=2026-11-24", &[3]),
        ("due_to=2026-11-30", &[1, 2, 7]),
        ("due_from=2026-12-01&due_to=2026-11-01", &[]),
        ("q=APPLES", &[2, 5]),
        ("q=%C3%A4PFEL", &[1, 7]),
        ("q=a%CC%88pfel", &[1, 7]),
        ("q=apfel", &[]),
        ("q=%CE%BF%CE%B4%CE%BF%CF%82", &[6]),
        ("q=0%25+o", &[3]),
        ("q=f_e", &[3]),
        ("q=a%25s", &[]),
        ("q=work", &[3, 5]),
        ("q=4", &[4]),
        ("q=%27%3B+DROP+TABLE+task%3B--", &[]),
        ("q=%5C", &[]),
        ("sort=-id", &[7, 6, 5, 4, 3, 2, 1]),
        ("sort=due_date", &[7, 1, 2, 3, 4, 5, 6]),
        ("sort=-due_date", &[3, 2, 1, 7, 4, 5, 6]),
        ("sort=priority", &[1, 4, 2, 5, 7, 3, 6]),
        ("sort=-priority", &[3, 6, 2, 5, 7, 1, 4]),
        ("sort=title", &[3, 2, 5, 4, 1, 7, 6]),
        ("sort=-title", &[6, 7, 1, 4, 2, 5, 3]),
        ("sort=created_at", &[1, 2, 3, 4, 5, 6, 7]),
        ("sort=-updated_at", &[7, 6, 5, 4, 3, 2, 1]),
        ("limit=200", &[1, 2, 3, 4, 5, 6, 7]),
        (
            "completed=no&priority=High&priority=Low&tag=home&due_to=2026-12-31&q=e&sort=-id",
            &[3, 1],
        ),
    ] {
        let response = get(&api, &user, query).await;
        assert_eq!(numbers(&response.expect(200)), expected, "{query}");
        assert_eq!(next(&response), None, "{query}");
    }
}

#[tokio::test]
async fn pages_of_every_order_have_each_task_once() {
    let api = Api::from_env();
    let user = user_with_tasks(&api).await;
    for sort in SORTS {
        let whole = get(&api, &user, &format!("sort={sort}")).await.expect(200);
        for limit in [1, 2, 3, 7] {
            let pages = walk(&api, &user, &format!("sort={sort}&limit={limit}")).await;
            assert_eq!(json!(pages), whole, "{sort}, {limit}");
        }
    }
    let filtered = walk(&api, &user, "priority=High&priority=Low&limit=1&sort=title").await;
    assert_eq!(numbers(&json!(filtered)), [3, 4, 1, 6]);
}

#[tokio::test]
async fn tasks_that_come_and_go_between_pages_move_no_other() {
    let api = Api::from_env();
    for sort in SORTS {
        let user = user_with_tasks(&api).await;
        let before = get(&api, &user, &format!("sort={sort}")).await.expect(200);
        let first = get(&api, &user, &format!("sort={sort}&limit=3")).await;
        // The last task of the page goes, and others come before and after it.
        let last = &before[2]["id"];
        api.call(&user, "DELETE", &user.task_path(last), None)
            .await
            .expect(200);
        for title in ["", "zzz"] {
            for due_date in [Value::Null, json!("0001-01-01"), json!("9999-12-31")] {
                let title = format!("new {title}");
                api.create_task(
                    &user,
                    &json!({"title": title, "due_date": due_date, "description": "99"}),
                )
                .await;
            }
        }
        let rest = walk(&api, &user, &next(&first).expect("a next page")).await;
        let mut seen = numbers(&first.expect(200));
        seen.extend(numbers(&json!(rest)).iter().filter(|number| **number != 99));
        assert_eq!(seen, numbers(&before), "{sort}");
    }
}

#[tokio::test]
async fn every_bad_parameter_is_named_in_one_answer() {
    let api = Api::from_env();
    let user = api.register().await;
    let long = "a".repeat(201);
    let query = format!(
        "completed=maybe&priority=urgent&priority=High&tag={long}&due_from=23.11.2026&due_to=2026-02-29&q=%00&sort=size\
         &limit=201&cursor=x"
    );
    let response = get(&api, &user, &query).await;
    response.assert_invalid(&[
        ("bool_parsing", "completed"),
        ("enum", "priority"),
        ("string_too_long", "tag"),
        ("value_error", "due_from"),
        ("value_error", "due_to"),
        ("value_error", "q"),
        ("enum", "sort"),
        ("less_than_equal", "limit"),
        ("value_error", "cursor"),
    ]);
    let limit = &response.json()["detail"][7];
    assert_eq!(
        limit,
        &json!({"type": "less_than_equal", "loc": ["query", "limit"], "msg": "Input should be less than or equal to 200",
                "input": "201", "ctx": {"le": 200}})
    );
    for (query, rule) in [
        ("limit=", ("int_parsing", "limit")),
        ("limit=0", ("greater_than_equal", "limit")),
        ("limit=1&limit=2", ("value_error", "limit")),
        ("completed", ("bool_parsing", "completed")),
        ("q=", ("string_too_short", "q")),
        ("q=%FF", ("value_error", "q")),
        ("tag=a&tag=", ("string_too_short", "tag")),
        ("due_from=2026-11-23T00:00", ("value_error", "due_from")),
        ("sort=ID", ("enum", "sort")),
    ] {
        get(&api, &user, query).await.assert_invalid(&[rule]);
    }
    // The path's violations come first, and those of headers last.
    let request = api
        .request("GET", "/api/x/tasks?limit=0")
        .bearer_auth(&user.token);
    let response = api.send(request.header("if-none-match", "bare")).await;
    response.assert_invalid(&[
        ("int_parsing", "user_id"),
        ("greater_than_equal", "limit"),
        ("value_error", "if-none-match"),
    ]);
}

#[tokio::test]
async fn a_cursor_belongs_to_its_filters_and_order() {
    let api = Api::from_env();
    let user = user_with_tasks(&api).await;
    let first = get(&api, &user, "sort=title&priority=Low&priority=High&limit=1").await;
    let link = next(&first).expect("a next page");
    let cursor = link.split("cursor=").last().expect("a cursor");
    let continued = get(
        &api,
        &user,
        &format!("limit=9&priority=High&priority=Low&sort=title&cursor={cursor}"),
    )
    .await;
    assert_eq!(numbers(&continued.expect(200)), [4, 1, 6]);
    for other in [
        "",
        "sort=title",
        "sort=-title&priority=Low&priority=High",
        "sort=title&priority=Low",
        "sort=title&priority=Low&priority=High&q=a",
    ] {
        let response = get(&api, &user, &format!("{other}&cursor={cursor}")).await;
        response.assert_invalid(&[("value_error", "cursor")]);
    }
    // It is no secret: another user's list is still their own.
    let other = api.register().await;
    let response = get(&api, &other, &link).await;
    assert_eq!(response.expect(200), json!([]));
}

#[tokio::test]
async fn a_link_repeats_the_parameters_however_they_are_encoded() {
    let api = Api::from_env();
    let user = api.register().await;
    let tag = "a&b=c#d?e+f g%h\"<>'\\/ä😀;:@!$*()[]{}|^`~";
    for _ in 0..3 {
        api.create_task(
            &user,
            &json!({"title": "a", "tags": tag, "description": "1"}),
        )
        .await;
    }
    let mut url = Url::parse("http://localhost").expect("a URL");
    url.query_pairs_mut()
        .append_pair("tag", tag)
        .append_pair("unknown", tag)
        .append_pair("limit", "1");
    let encoded = url.query().expect("a query").to_owned();
    let raw = "tag=a%26b%3Dc%23d?e%2Bf+g%25h%22%3C%3E'%5C/%C3%A4%F0%9F%98%80;:@!$*()%5B%5D%7B%7D%7C%5E%60~&limit=1".to_owned();
    for query in [encoded, raw] {
        assert_eq!(walk(&api, &user, &query).await.len(), 3, "{query}");
        let link = next(&get(&api, &user, &query).await).expect("a next page");
        url.set_query(Some(&link));
        let tags: Vec<_> = url
            .query_pairs()
            .filter(|(name, _)| name == "tag")
            .map(|(_, value)| value.into_owned())
            .collect();
        assert_eq!(tags, [tag]);
    }
}

#[tokio::test]
async fn a_page_that_the_client_has_is_304_until_a_task_changes() {
    let api = Api::from_env();
    let user = user_with_tasks(&api).await;
    let first = get(&api, &user, "sort=-title&limit=2").await;
    let link = next(&first).expect("a next page");
    let etag = first.headers["etag"].to_str().expect("a text").to_owned();
    let conditional = async |query: &str| {
        let path = format!("{}?{query}", user.tasks_path());
        let request = api.request("GET", &path).bearer_auth(&user.token);
        api.send(request.header("if-none-match", &etag)).await
    };
    for query in ["", "sort=-title&limit=2", link.as_str(), "q=nothing"] {
        let response = conditional(query).await;
        assert_eq!(
            (response.status.as_u16(), response.text.as_str()),
            (304, ""),
            "{query}"
        );
        assert_eq!(response.headers["etag"], etag.as_str(), "{query}");
    }
    api.create_task(&user, &json!({"title": "new", "description": "8"}))
        .await;
    for query in ["", "sort=-title&limit=2", link.as_str(), "q=nothing"] {
        assert_eq!(conditional(query).await.status.as_u16(), 200, "{query}");
    }
}
