// Tests the page at /docs in headless Chromium, which can reach only the API: the page renders under its own content
// security policy, signs in with a token, and sends requests.
//
// BASE_URL is the API, and CHROMIUM the path of the browser; `./dev test browser` sets both. Screenshots are written to
// .dev.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const base = new URL(process.env.BASE_URL.replace(/\/*$/, "/"));
const screenshots = fileURLToPath(new URL("../../.dev/", import.meta.url));
const widths = { desktop: 1280, phone: 390 };

// In milliseconds. A cold function of a debug build is slow.
const responseTimeout = 60_000;
const timeout = 5 * responseTimeout;

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
      ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
      `--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE ${base.hostname}`,
      "--disable-gpu",
      "--disable-quic",
      "--disable-sync",
    ],
  });
});
after(() => browser?.close());

/** Sends JSON to the API, and returns the body of the response. */
async function send(method, path, body, token) {
  const response = await fetch(new URL(path, base), {
    method,
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(responseTimeout),
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.json();
}

/** Registers a user, and creates one task. */
async function register() {
  const username = `browser-${crypto.randomUUID().slice(0, 8)}`;
  const user = await send("POST", "api/auth/register", {
    username,
    email: `${username}@example.com`,
    password: "correct horse battery",
  });
  await send("POST", `api/${user.id}/tasks`, { title: `Seen by ${username}` }, user.access_token);
  return user;
}

/** Opens the page, and collects everything that it should not do. */
async function open(width) {
  const context = await browser.newContext({ viewport: { width, height: 900 } });
  context.setDefaultTimeout(responseTimeout);
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error}`));
  page.on("requestfailed", (request) => problems.push(`failed: ${request.url()}`));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== "data:" && origin !== base.origin) problems.push(`request: ${request.url()}`);
  });
  await context.exposeFunction("noteViolation", (what) => problems.push(`policy: ${what}`));
  await context.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (event) =>
      window.noteViolation(`${event.effectiveDirective} forbids ${event.blockedURI}: ${event.sample}`),
    ),
  );
  await page.goto(new URL("docs", base).href);
  await page.locator(".opblock").first().waitFor();
  return { page, problems };
}

async function signIn(page, token) {
  await page.getByRole("button", { name: "Authorize" }).first().click();
  const dialog = page.locator(".dialog-ux");
  await dialog.getByRole("textbox").fill(token);
  await dialog.getByRole("button", { name: "Apply credentials" }).click();
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await dialog.waitFor({ state: "detached" });
}

/** Sends a request with the form of an operation, and returns the status and the body that the page shows. */
async function tryOut(page, operation, parameters) {
  const block = page.locator(`[id$="-${operation}"].opblock`);
  if (!(await block.getAttribute("class")).includes("is-open")) await block.locator(".opblock-summary-control").click();
  const clear = block.getByRole("button", { name: "Clear" });
  if (await clear.isVisible()) await clear.click();
  for (const [name, value] of Object.entries(parameters)) {
    await block.locator(`tr[data-param-name="${name}"] input`).fill(String(value));
  }
  await block.getByRole("button", { name: "Execute" }).click();
  const response = block.locator(".live-responses-table .response").first();
  await response.waitFor();
  return {
    status: (await response.locator(".response-col_status").innerText()).trim(),
    body: await response.locator(".response-col_description pre code").first().innerText(),
  };
}

for (const [device, width] of Object.entries(widths)) {
  test(`on a ${device}, the page signs in and lists the caller's tasks`, { timeout }, async () => {
    const user = await register();
    const { page, problems } = await open(width);
    await page.screenshot({ path: `${screenshots}docs-${device}.png`, fullPage: true });

    await signIn(page, user.access_token);
    const account = await tryOut(page, "getAccount", {});
    assert.equal(account.status, "200");
    assert.equal(JSON.parse(account.body).username, user.username);
    const tasks = await tryOut(page, "listTasks", { user_id: user.id });
    assert.equal(tasks.status, "200");
    assert.equal(JSON.parse(tasks.body)[0].title, `Seen by ${user.username}`);
    const filtered = await tryOut(page, "listTasks", { user_id: user.id, q: "not in the list", limit: 1 });
    assert.deepEqual([filtered.status, filtered.body], ["200", "[]"]);
    await page.screenshot({ path: `${screenshots}docs-${device}-tried.png`, fullPage: true });

    const [content, visible] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= visible, `the page is ${content} px wide, of which ${visible} are visible`);
    assert.deepEqual(problems, []);
    assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0, "the page stores nothing");
    await page.context().close();
  });
}

test("the policy blocks inline code and other origins", { timeout }, async () => {
  const { page, problems } = await open(widths.desktop);
  assert.deepEqual(problems, []);
  const kept = await page.evaluate(async () => {
    const violations = new Set();
    document.addEventListener("securitypolicyviolation", (event) => violations.add(event.effectiveDirective));
    const add = (tag, properties) => document.body.append(Object.assign(document.createElement(tag), properties));
    add("script", { textContent: "window.ran = true" });
    add("style", { textContent: "body { color: red }" });
    add("img", { src: "https://example.com/image.png" });
    await fetch("https://example.com/").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 500));
    return { violations: [...violations].sort(), ran: window.ran };
  });
  assert.deepEqual(kept, {
    violations: ["connect-src", "img-src", "script-src-elem", "style-src-elem"],
    ran: undefined,
  });
  // This shows that the other tests would notice such problems.
  for (const kind of ["policy: ", "console: "]) {
    assert.ok(problems.some((problem) => problem.startsWith(kind)), `${kind}${problems}`);
  }
  await page.context().close();
});
