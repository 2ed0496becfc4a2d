// Stays logged in at BASE_URL without asking for the password again, in several tabs of a browser: ./dev test client

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const baseUrl = process.env["BASE_URL"] ?? "http://localhost:9000";

/** What the tabs share. In a browser, localStorage has these methods. */
interface Store {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
}

/** How long before its end a token is replaced, in milliseconds. */
const MARGIN = 5 * 60 * 1000;

/** When a token expires, in milliseconds since 1970. */
function expiryOf(token: string): number {
  const claims = token.split(".")[1] ?? "";
  return JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/"))).exp * 1000;
}

/** Sends the shared token with each request, and refreshes it before it expires. */
class Session {
  readonly #store: Store;
  readonly #now: () => number;
  #refresh: Promise<void> | undefined;

  constructor(store: Store, now: () => number = Date.now) {
    this.#store = store;
    this.#now = now;
  }

  async onRequest({ request }: { request: Request }): Promise<void> {
    const token = this.#store.getItem("token") ?? "";
    if (expiryOf(token) - this.#now() < MARGIN) {
      // Requests of one tab wait for one refresh. Another tab may do the same: the old token stays valid meanwhile.
      this.#refresh ??= this.#replace(token).finally(() => (this.#refresh = undefined));
      await this.#refresh;
    }
    request.headers.set("Authorization", `Bearer ${this.#store.getItem("token")}`);
  }

  async #replace(token: string): Promise<void> {
    const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
    const { data } = await client.POST("/api/auth/refresh");
    // After 30 days, or after a logout, there is no new token. The request that follows gets a 401, and the user logs in.
    if (data) this.#store.setItem("token", data.access_token);
  }
}

const username = `u-${randomBytes(8).toString("hex")}`;
const account = { username, email: `${username}@example.com`, password: "correct horse battery" };
const anonymous = createClient<paths>({ baseUrl });
const registration = await anonymous.POST("/api/auth/register", { body: account });
assert(registration.data);
const path = { user_id: registration.data.id };

const items = new Map<string, string>();
const store: Store = { getItem: (name) => items.get(name) ?? null, setItem: (name, value) => void items.set(name, value) };
const old = registration.data.access_token;
store.setItem("token", old);

// For the tabs, it is a minute before the end of the token.
let offset = expiryOf(old) - 60_000 - Date.now();
const tabs = [1, 2].map(() => {
  const tab = createClient<paths>({ baseUrl });
  tab.use(new Session(store, () => Date.now() + offset));
  return tab;
});
const [one, other] = tabs;
assert(one && other);

// Both tabs send several requests at once. Each tab refreshes the token, and no request fails.
const answers = await Promise.all(
  [one, other, one, other].map((tab) => tab.GET("/api/{user_id}/tasks", { params: { path } })),
);
for (const answer of answers) assert.equal(answer.response.status, 200);
assert.notEqual(store.getItem("token"), old);
offset = 0;

// Each tab has opened one session, and the one of the registration has not ended.
const sessions = await one.GET("/api/auth/sessions");
assert(sessions.data);
assert.deepEqual(
  sessions.data.map((session) => session.kind),
  ["login", "login", "login"],
);

// A script gets a token of its own, which can only read tasks, and is ended like any session.
const creation = await one.POST("/api/auth/tokens", {
  body: { name: "A script", scope: "tasks:read", expires_in_days: 1, password: account.password },
});
assert(creation.data);
const script = createClient<paths>({
  baseUrl,
  headers: { Authorization: `Bearer ${creation.data.access_token}` },
});
assert.equal((await script.GET("/api/{user_id}/tasks", { params: { path } })).response.status, 200);
const writing = await script.POST("/api/{user_id}/tasks", { params: { path }, body: { title: "From a script" } });
assert.equal(writing.error?.detail, "This token may not be used here");
await one.DELETE("/api/auth/sessions/{id}", { params: { path: { id: creation.data.id } } });
assert.equal((await script.GET("/api/auth/me")).response.status, 401);

// The user has lost a device: all other logins end, and this tab goes on.
const ended = await other.DELETE("/api/auth/sessions", {});
assert.equal(ended.data?.message, "Other sessions ended");
assert.equal((await other.GET("/api/auth/me")).response.status, 200);
const device = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${old}` } });
assert.equal((await device.GET("/api/auth/me")).response.status, 401);
