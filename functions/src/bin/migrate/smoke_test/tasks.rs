//! Tasks: each is created, listed, changed and deleted.

use serde_json::{Value, json};
use shared::Error;
use shared::auth::Caller;
use shared::http::conditional::EntityTags;
use shared::tasks::{self, Change, CreationKey, NewTask, TaskChanges, TaskQuery};
use shared::validation::Query;

use super::SmokeTest;
use super::step::Step;

impl SmokeTest<'_> {
    pub(super) async fn do_everything_with_tasks(&self, caller: &Caller) -> Result<(), String> {
        let full = json!({
            "title": "\u{df}".repeat(200), "description": "\u{1f600}", "due_date": "9".repeat(50), "priority": "High",
            "tags": "one,two", "recursion_pattern": "r".repeat(100), "completed": true,
        });
        let small = json!({
            "title": "title", "description": null, "due_date": null, "priority": "Low",
            "tags": null, "recursion_pattern": null, "completed": false,
        });

        let step = Step("create a task");
        let mut created = Vec::new();
        for fields in [&full, &small] {
            let new = step.input(fields, NewTask::from_body)?;
            let key = step.result(CreationKey::from_header(None))?;
            // The second time it is a repetition.
            let mut answers = Vec::new();
            for _ in 0..2 {
                let created = tasks::create(self.database, caller, &new, &key, self.limits).await;
                let created = step.result(created)?;
                answers.push(step.answer(Ok::<_, Error>(created.task.content))?);
            }
            step.require_equal(&answers[1], &answers[0])?;
            let task = answers.swap_remove(0);
            step.require_fields(&task, fields)?;
            created.push(task);
        }

        for (query, expected) in [
            ("", &created[..]),
            (
                "q=TITLE&completed=no&priority=Low&sort=-id&limit=1",
                &created[1..],
            ),
            ("tag=ONE&tag=two&q=%F0%9F%98%80&sort=title", &created[..1]),
            ("sort=due_date&limit=1", &created[..1]),
            (
                "due_from=0001-01-01&due_to=9999-12-31&sort=-created_at",
                &[],
            ),
        ] {
            let step = Step("list tasks");
            let nothing = EntityTags::Listed(Vec::new());
            let query = step.result(TaskQuery::from_query(&Query::new(query.to_owned())))?;
            let list = tasks::list(self.database, caller, &nothing, &query, usize::MAX).await;
            let list = step.result(list)?.content;
            step.require_equal(&step.answer(Ok::<_, Error>(list))?, &json!(expected))?;
        }

        let step = Step("change a task");
        let task = created.swap_remove(0);
        let id = task["id"].as_i64().unwrap_or_default();
        let changes = step.input(&small, TaskChanges::from_body)?;
        let updated = self
            .change(step, caller, id, Change::Update(&changes))
            .await?;
        step.require_fields(&updated, &small)?;
        step.require_later(&updated, &task)?;
        self.require_task(caller, &updated).await?;

        let step = Step("complete a task");
        let toggled = self.change(step, caller, id, Change::Toggle).await?;
        step.require_equal(&toggled["completed"], &json!(true))?;
        step.require_later(&toggled, &updated)?;
        self.require_task(caller, &toggled).await?;

        let step = Step("delete a task");
        let deleted = self.change(step, caller, id, Change::Delete).await?;
        step.require_equal(&deleted, &toggled)?;
        match tasks::get(self.database, caller, id).await {
            Err(Error::TaskNotFound) => Ok(()),
            other => step.unexpected(other.err(), "the task again"),
        }
    }

    async fn change(
        &self,
        step: Step,
        caller: &Caller,
        id: i64,
        change: Change<'_>,
    ) -> Result<Value, String> {
        let any = EntityTags::Any;
        let changed = tasks::change(self.database, caller, id, &any, change, self.limits).await;
        step.answer(changed.map(|task| task.content))
    }

    async fn require_task(&self, caller: &Caller, expected: &Value) -> Result<(), String> {
        let step = Step("read a task");
        let id = expected["id"].as_i64().unwrap_or_default();
        let task = tasks::get(self.database, caller, id).await;
        let task = step.answer(task.map(|task| task.content))?;
        step.require_equal(&task, expected)
    }
}
