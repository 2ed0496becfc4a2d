// Registers, logs in and manages tasks at BASE_URL, with types that are generated from openapi.yaml: ./dev test client

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type NewTask = components["schemas"]["NewTask"];
type TaskChanges = components["schemas"]["TaskChanges"];

const client = createClient<paths>({ baseUrl: process.env["BASE_URL"] ?? "http://localhost:9000" });

const username = `u-${randomBytes(8).toString("hex")}`;
const credentials = { email: `${username}@example.com`, password: "correct horse battery" };

const registration = await client.POST("/api/auth/register", { body: { username, ...credentials } });
assert.equal(registration.data?.username, username);
const again = await client.POST("/api/auth/register", { body: { username, ...credentials } });
assert.equal(again.error?.detail, "Email already registered");

const login = await client.POST("/api/auth/login", { body: credentials });
assert(login.data);
const path = { user_id: Number(login.data.user_id) };
client.use({
  onRequest({ request }) {
    request.headers.set("Authorization", `Bearer ${login.data.access_token}`);
  },
});

const creation = await client.POST("/api/{user_id}/tasks", {
  params: { path },
  body: { title: "Write the first program", priority: "High" } satisfies NewTask,
});
assert(creation.data);
assert.equal(creation.data.due_date, null);

// A creation whose answer was lost is sent again with the same key, and creates no second task.
const key = randomUUID();
const create = () =>
  client.POST("/api/{user_id}/tasks", {
    params: { path, header: { "Idempotency-Key": key } },
    body: { title: "Only once" },
  });
const [first, repeated] = [await create(), await create()];
assert(first.data);
assert.deepEqual(repeated.data, first.data);
assert.equal(repeated.response.headers.get("Idempotent-Replayed"), "true");

// Two clients change one task. The second one sees that, reads the task again, and merges its change.
const shared = { ...path, id: first.data.id };
const seen = await client.GET("/api/{user_id}/tasks/{id}", { params: { path: shared } });
const update = (etag: string | null, changes: TaskChanges) =>
  client.PUT("/api/{user_id}/tasks/{id}", {
    params: { path: shared, header: { "If-Match": etag ?? "*" } },
    body: changes,
  });
await update(seen.response.headers.get("ETag"), { tags: "from the first client" });
let mine = await update(seen.response.headers.get("ETag"), { tags: "from the second client" });
assert.equal(mine.response.status, 412);
const now = await client.GET("/api/{user_id}/tasks/{id}", { params: { path: shared } });
mine = await update(now.response.headers.get("ETag"), { tags: `${now.data?.tags}, from the second client` });
assert.equal(mine.data?.tags, "from the first client, from the second client");

// A client that polls asks whether anything has changed.
const polled = await client.GET("/api/{user_id}/tasks", { params: { path } });
const known = polled.response.headers.get("ETag") ?? "";
const unchanged = await client.GET("/api/{user_id}/tasks", { params: { path, header: { "If-None-Match": known } } });
assert.equal(unchanged.response.status, 304);
await client.DELETE("/api/{user_id}/tasks/{id}", { params: { path: shared } });

const taskPath = { ...path, id: creation.data.id };
const change = await client.PUT("/api/{user_id}/tasks/{id}", {
  params: { path: taskPath },
  body: { due_date: "1843-09-01" } satisfies TaskChanges,
});
assert.equal(change.data?.due_date, "1843-09-01");
const completion = await client.PATCH("/api/{user_id}/tasks/{id}/complete", { params: { path: taskPath } });
assert.equal(completion.data?.completed, true);

const list = await client.GET("/api/{user_id}/tasks", { params: { path } });
assert.deepEqual(list.data, [completion.data]);

// A client that shows pages follows the links. Each one repeats the filters and the order.
for (let day = 1; day <= 5; day++) {
  const task = { title: `Day ${day}`, due_date: `1843-10-0${day}`, tags: "Journey" } satisfies NewTask;
  await client.POST("/api/{user_id}/tasks", { params: { path }, body: task });
}
function nextCursor(response: Response): string | null {
  const link = /^<\?(.*)>; rel="next"$/.exec(response.headers.get("Link") ?? "");
  return new URLSearchParams(link?.[1]).get("cursor");
}
const query = { tag: ["journey"], due_from: "1843-10-02", sort: "-due_date" as const, limit: 2 };
const titles: string[] = [];
let cursor: string | null = null;
do {
  const page = await client.GET("/api/{user_id}/tasks", { params: { path, query: cursor ? { ...query, cursor } : query } });
  titles.push(...(page.data ?? []).map((task) => task.title));
  // Its type is given, because it would otherwise depend on itself.
  const next: string | null = nextCursor(page.response);
  cursor = next;
} while (cursor);
assert.deepEqual(titles, ["Day 5", "Day 4", "Day 3", "Day 2"]);

// The types reject what the API would reject.
const rejection = await client.POST("/api/{user_id}/tasks", {
  params: { path },
  // @ts-expect-error: the member is called title
  body: { titel: "Write the first program" },
});
const violation = rejection.error && rejection.response.status === 422 ? rejection.error.detail[0] : undefined;
assert.deepEqual(violation, {
  type: "missing",
  loc: ["body", "title"],
  msg: "Field required",
  input: { titel: "Write the first program" },
});

const deletion = await client.DELETE("/api/{user_id}/tasks/{id}", { params: { path: taskPath } });
assert.equal(deletion.data?.message, "Task deleted successfully");
const absence = await client.GET("/api/{user_id}/tasks/{id}", { params: { path: taskPath } });
assert.equal(absence.error?.detail, "Task not found");

await client.POST("/api/auth/logout");
const afterLogout = await client.GET("/api/auth/me");
assert.equal(afterLogout.error?.detail, "Could not validate credentials");
