"""Chooses the users that Schemathesis sends requests as.

Schemathesis knows only the document. Most requests that it generates would be rejected because of a wrong token, user
or password, or because a name is taken. These hooks change most requests so that they come from existing users.

The outcome of a request must not depend on earlier requests: Hypothesis repeats a scenario with changes, and fails a
test if the same steps have a different outcome.
"""

import os
import uuid
import zlib
from dataclasses import dataclass

import requests
import schemathesis

API = os.environ["BASE_URL"]
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class User:
    id: int
    email: str
    password: str
    authorization: str

    @classmethod
    def of(cls, registration, answer):
        authorization = f"Bearer {answer['access_token']}"
        return cls(answer["id"], answer["email"], registration["password"], authorization)

    @classmethod
    def register(cls):
        name = new_name()
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        user = cls.of(body, post("/api/auth/register", body))
        registered[user.id] = user
        return user

    def open_session(self):
        """Returns the id of another session of the user."""
        post("/api/auth/refresh", None, Authorization=self.authorization)
        answer = requests.get(f"{API}/api/auth/sessions", headers={"Authorization": self.authorization}, timeout=60)
        answer.raise_for_status()
        return next(session["id"] for session in answer.json() if not session["current"])

    def create_task(self):
        return post(f"/api/{self.id}/tasks", {"title": "a"}, Authorization=self.authorization)["id"]


def new_name():
    return f"u-{uuid.uuid4().hex[:16]}"


def post(path, body, **headers):
    answer = requests.post(API + path, json=body, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Makes each response fail that has a member which the document does not declare."""
    components = raw_schema["components"]
    operations = [item for path in raw_schema["paths"].values() for item in path.values() if "responses" in item]
    responses = [response for operation in operations for response in operation["responses"].values()]
    for response in [*responses, *components["responses"].values()]:
        for media_type in response.get("content", {}).values():
            reject_undeclared_members(media_type["schema"], components["schemas"])


def reject_undeclared_members(schema, components):
    """Closes a schema and those of its members. It does not close the parts of a composition, which know only a part."""
    if "unevaluatedProperties" in schema:
        return
    members = list(members_of(schema, components))
    if members:
        schema["unevaluatedProperties"] = False
    for member in members:
        reject_undeclared_members(member, components)
    if "items" in schema:
        reject_undeclared_members(schema["items"], components)


def members_of(schema, components):
    """The schemas of an object's members, wherever they are declared."""
    yield from schema.get("properties", {}).values()
    parts = [part for keyword in ("allOf", "anyOf", "oneOf") for part in schema.get(keyword, [])]
    if "$ref" in schema:
        parts.append(components[schema["$ref"].removeprefix("#/components/schemas/")])
    for part in parts:
        yield from members_of(part, components)


# All registered users, by id.
registered = {}
# The user that sends most requests.
caller = User.register()
# The user that logs in. Many logins end the oldest, and the session of the caller is needed by other requests.
visitor = User.register()
# The authorizations of the users with these sessions.
owners = {}
# All usernames and email addresses that a test has tried to register.
requested_names = set()


def is_exception(value):
    """True for one value in ten."""
    return zlib.crc32(repr(value).encode()) % 10 == 0


def has_callers_token(case):
    """False for a request without a token or with an invalid one, which has to be rejected for that reason."""
    return case.headers.get("Authorization") == caller.authorization


def is_valid(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


def is_scenario(case):
    return case.meta is not None and case.meta.phase.name == "stateful"


def user_of(case):
    """The caller. In a scenario, a new user, so that scenarios do not affect each other."""
    return User.register() if is_scenario(case) else caller


def is_number(value):
    return str(value).lstrip("-").isdecimal()


def change(case, **fields):
    """Replaces the body instead of changing it, because it may be an example of the document."""
    case.body = {**case.body, **fields}


@schemathesis.auth(refresh_interval=None)
class Bearer:
    def get(self, case, context):
        return caller.authorization

    def set(self, case, authorization, context):
        case.headers["Authorization"] = authorization


@schemathesis.hook("before_call").apply_to(operation_id="register")
def use_unused_names(context, case, kwargs):
    if not is_valid(case):
        return
    if is_exception(case.body):
        change(case, email=caller.email)
        return
    if case.body["username"] in requested_names:
        change(case, username=new_name())
    if case.body["email"].lower() in requested_names:
        change(case, email=f"{new_name()}@example.com")
    requested_names.update([case.body["username"], case.body["email"].lower()])


@schemathesis.hook("after_call").apply_to(operation_id="register")
def remember_user(context, case, response):
    if response.status_code == 201:
        user = User.of(case.body, response.json())
        registered[user.id] = user


@schemathesis.hook("before_call").apply_to(operation_id=["login", "createToken"])
def use_known_password(context, case, kwargs):
    if not is_valid(case):
        return
    user = next((user for user in registered.values() if user.email == case.body["email"]), None)
    if user is None and is_exception(case.body):
        change(case, email=f"{new_name()}@example.com")
    else:
        user = user or (User.register() if is_scenario(case) else visitor)
        change(case, email=user.email, password=user.password)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Makes generated ids negative, so that ids of existing users and tasks come only from links."""
    generated = path_parameters or {}
    return {name: -abs(value) if type(value) is int else value for name, value in generated.items()}


@schemathesis.hook("before_call").apply_to(path_regex="{user_id}")
def use_own_tasks(context, case, kwargs):
    path = case.path_parameters
    if not has_callers_token(case) or not is_number(path["user_id"]):
        return
    user = registered.get(int(path["user_id"]))
    if user is None:
        if is_exception(path["user_id"]):
            return
        user = user_of(case)
        path["user_id"] = user.id
    case.headers["Authorization"] = user.authorization
    if is_number(path.get("id")) and not is_scenario(case) and not is_exception(path["id"]):
        path["id"] = user.create_task()


@schemathesis.hook("before_call").apply_to(operation_id="getAccount")
def use_separate_account(context, case, kwargs):
    if has_callers_token(case):
        case.headers["Authorization"] = user_of(case).authorization


@schemathesis.hook("before_call").apply_to(operation_id="logout")
def use_separate_session(context, case, kwargs):
    """Registers a user, because the caller is needed by other requests."""
    if has_callers_token(case):
        case.headers["Authorization"] = User.register().authorization


@schemathesis.hook("before_call").apply_to(operation_id=["changePassword", "deleteAccount", "createPersonalToken"])
def use_account_to_delete(context, case, kwargs):
    """Registers a user, because the caller is needed by other requests, and may have only 20 personal tokens."""
    if has_callers_token(case) and is_valid(case):
        case.headers["Authorization"] = User.register().authorization
        if not is_exception(case.body):
            change(case, **{"password" if "password" in case.body else "current_password": PASSWORD})


@schemathesis.hook("after_call").apply_to(operation_id="createPersonalToken")
def remember_session(context, case, response):
    if response.status_code == 201:
        owners[response.json()["id"]] = response.request.headers["Authorization"]


@schemathesis.hook("before_call").apply_to(operation_id="endSession")
def use_own_session(context, case, kwargs):
    path = case.path_parameters
    if not has_callers_token(case) or not is_number(path["id"]):
        return
    if int(path["id"]) in owners:
        case.headers["Authorization"] = owners[int(path["id"])]
    elif not is_scenario(case) and not is_exception(path["id"]):
        user = User.register()
        case.headers["Authorization"] = user.authorization
        path["id"] = user.open_session()


@schemathesis.hook("before_call").apply_to(operation_id=["refresh", "endSessions"])
def use_other_sessions(context, case, kwargs):
    """Registers a user, because a refresh beyond the limit, and the end of all sessions, would end those of the caller."""
    if has_callers_token(case):
        case.headers["Authorization"] = User.register().authorization


@schemathesis.hook("before_call").apply_to(operation_id="createTask")
def use_unused_key(context, case, kwargs):
    """Also replaces control characters: the local server answers them with a 500, without calling a function."""
    key = case.headers.get("Idempotency-Key")
    if key is None:
        return
    if is_valid(case):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    elif not (key.isascii() and key.isprintable()):
        case.headers["Idempotency-Key"] = "not a key"


@schemathesis.hook("before_call").apply_to(operation_id="listTasks")
def continue_no_list(context, case, kwargs):
    """Drops generated cursors, because only one from an answer is valid."""
    if is_valid(case):
        case.query.pop("cursor", None)


@schemathesis.hook("before_call").apply_to(operation_id=["updateTask", "completeTask", "deleteTask"])
def expect_current_version(context, case, kwargs):
    """Replaces the generated versions, which no task has, by one that every task has."""
    if is_valid(case) and "If-Match" in case.headers and not is_exception(case.headers["If-Match"]):
        case.headers["If-Match"] = "*"


@schemathesis.hook
def filter_body(context, body):
    """Drops bodies that are not UTF-8: the local server answers them with a 500, without calling a function."""
    if isinstance(body, bytes):
        try:
            body.decode()
        except UnicodeDecodeError:
            return False
    return True
