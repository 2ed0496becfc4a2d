"""Who calls. Schemathesis knows the document alone, and most of what it makes up would be refused for a wrong token,
user or password, or for a name that is taken. Here most of its requests become those of users that there are.

What becomes of a request does not depend on those before it: Hypothesis, which plays a scenario again with changes, ends
a test in which the same steps have another outcome.
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

    def create_task(self):
        return post(f"/api/{self.id}/tasks", {"title": "a"}, Authorization=self.authorization)["id"]


def new_name():
    return f"u-{uuid.uuid4().hex[:16]}"


def post(path, body, **headers):
    answer = requests.post(API + path, json=body, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


# All users that there are, by their ids.
registered = {}
# The user as whom most requests are made.
caller = User.register()
# All usernames and email addresses that a test has asked for.
taken = set()


def is_exception(value):
    """One value in ten."""
    return zlib.crc32(repr(value).encode()) % 10 == 0


def is_the_callers(case):
    """A request without a token, or with a bad one, is to be refused for that."""
    return case.headers.get("Authorization") == caller.authorization


def is_valid(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


def is_scenario(case):
    return case.meta is not None and case.meta.phase.name == "stateful"


def user_of(case):
    """The caller, or in a scenario one whom no other works on."""
    return User.register() if is_scenario(case) else caller


def is_number(value):
    return str(value).lstrip("-").isdecimal()


def change(case, **fields):
    """Not in place: the body may be an example of the document."""
    case.body = {**case.body, **fields}


@schemathesis.auth(refresh_interval=None)
class Bearer:
    def get(self, case, context):
        return caller.authorization

    def set(self, case, authorization, context):
        case.headers["Authorization"] = authorization


@schemathesis.hook("before_call").apply_to(operation_id="register")
def be_someone_new(context, case, kwargs):
    if not is_valid(case):
        return
    if is_exception(case.body):
        change(case, email=caller.email)
        return
    if case.body["username"] in taken:
        change(case, username=new_name())
    if case.body["email"].lower() in taken:
        change(case, email=f"{new_name()}@example.com")
    taken.update([case.body["username"], case.body["email"].lower()])


@schemathesis.hook("after_call").apply_to(operation_id="register")
def remember(context, case, response):
    if response.status_code == 201:
        user = User.of(case.body, response.json())
        registered[user.id] = user


@schemathesis.hook("before_call").apply_to(operation_id=["login", "createToken"])
def know_the_password(context, case, kwargs):
    if not is_valid(case):
        return
    user = next((user for user in registered.values() if user.email == case.body["email"]), None)
    if user is None and is_exception(case.body):
        change(case, email=f"{new_name()}@example.com")
    else:
        user = user or user_of(case)
        change(case, email=user.email, password=user.password)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """No id is negative, so that the ids of what there is come from links alone."""
    generated = path_parameters or {}
    return {name: -abs(value) if type(value) is int else value for name, value in generated.items()}


@schemathesis.hook("before_call").apply_to(path_regex="{user_id}")
def work_on_own_tasks(context, case, kwargs):
    path = case.path_parameters
    if not is_the_callers(case) or not is_number(path["user_id"]):
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
def show_another_account(context, case, kwargs):
    if is_the_callers(case):
        case.headers["Authorization"] = user_of(case).authorization


@schemathesis.hook("before_call").apply_to(operation_id="logout")
def end_another_session(context, case, kwargs):
    """The caller's has to last."""
    if is_the_callers(case):
        case.headers["Authorization"] = User.register().authorization


@schemathesis.hook("before_call").apply_to(operation_id=["changePassword", "deleteAccount"])
def end_another_account(context, case, kwargs):
    """The caller's has to last."""
    if is_the_callers(case) and is_valid(case):
        case.headers["Authorization"] = User.register().authorization
        if not is_exception(case.body):
            change(case, **{"password" if "password" in case.body else "current_password": PASSWORD})


@schemathesis.hook
def filter_body(context, body):
    """A body that is not UTF-8 never reaches a function here: the local server answers it by itself, with a 500."""
    if isinstance(body, bytes):
        try:
            body.decode()
        except UnicodeDecodeError:
            return False
    return True
