"""Reads the templates: finds them, says what their conditions are, and translates SAM to CloudFormation."""

import copy
import functools
import itertools
import logging
import os
import re
from pathlib import Path

import yaml
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform

REPO = Path(__file__).resolve().parents[2]
INFRA = REPO / "infra"
REGION = "eu-west-1"
ACCOUNT = "123456789012"

# What CloudFormation answers for names that no template declares.
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/rotator/1",
    "AWS::StackName": "rotator",
    "AWS::URLSuffix": "amazonaws.com",
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Knows CloudFormation's short forms; leaves dates as they are written."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def read(path):
    path = Path(path)
    return copy.deepcopy(_read(path, path.stat().st_mtime_ns))


@functools.cache
def _read(path, changed):
    return yaml.load(path.read_text(encoding="utf-8"), _Loader)


def service():
    """The templates of the service itself. What else is beside them in YAML is no template."""
    paths = [*sorted(INFRA.glob("*.yaml")), *sorted(INFRA.glob("policies/*.yaml"))]
    return [path for path in paths if "AWSTemplateFormatVersion" in read(path)]


def examples():
    """Those for its users."""
    return sorted((INFRA / "examples" / "cloudformation").glob("**/*.yaml"))


def all_of_them():
    return service() + examples()


def name_of(path):
    return str(Path(path).relative_to(INFRA))


# ---- SAM ----


class _NoPolicies:
    """In place of a call to IAM: the roles here name their own actions, so no managed policy has to be looked up."""

    def load(self):
        return {}


def is_sam(template):
    return "AWS::Serverless-2016-10-31" in _listed(template.get("Transform", []))


def translate(template):
    """SAM's own translation, without a network. What it refuses, it says in one sentence each."""
    if not is_sam(template):
        return template
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    source = copy.deepcopy(template)
    # Where `aws cloudformation package` would have put the zips.
    for logical_id, resource in source.get("Resources", {}).items():
        if resource.get("Type") == "AWS::Serverless::Function":
            code = resource["Properties"].get("CodeUri")
            if isinstance(code, str) and not code.startswith("s3://"):
                resource["Properties"]["CodeUri"] = f"s3://artifacts/{logical_id}.zip"
    try:
        return transform(source, {}, _NoPolicies())
    except InvalidDocumentException as refused:
        raise ValueError("; ".join(cause.message for cause in refused.causes)) from None


# ---- conditions and intrinsic functions ----


class Unknown(Exception):
    """A value that only AWS could tell."""


def evaluate(value, parameters, conditions=None):
    """The value of what conditions and rules may be made of. `conditions` are the template's own, by name."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((function, argument),) = value.items()

    def inner(part):
        return evaluate(part, parameters, conditions)

    match function:
        case "Ref":
            if argument in parameters:
                return parameters[argument]
            if argument in PSEUDO:
                return PSEUDO[argument]
            raise Unknown(argument)
        case "Condition":
            return inner(conditions[argument])
        case "Fn::Equals":
            left, right = (inner(part) for part in argument)
            return _text(left) == _text(right)
        case "Fn::Not":
            return not inner(argument[0])
        case "Fn::And":
            return all(inner(part) for part in argument)
        case "Fn::Or":
            return any(inner(part) for part in argument)
        case "Fn::Contains":
            return inner(argument[1]) in [inner(part) for part in argument[0]]
        case "Fn::Join":
            return argument[0].join(_text(part) for part in _listed(inner(argument[1])))
        case "Fn::Select":
            return _listed(inner(argument[1]))[int(argument[0])]
        case "Fn::Split":
            return inner(argument[1]).split(argument[0])
        case "Fn::EachMemberIn":
            known = _listed(inner(argument[1]))
            return all(member in known for member in _listed(inner(argument[0])))
    raise Unknown(function)


def defaults(template):
    return {
        name: typed(declared, declared["Default"])
        for name, declared in template.get("Parameters", {}).items()
        if "Default" in declared
    }


def typed(declared, value):
    """A parameter's value as functions see it."""
    if declared["Type"].startswith(("CommaDelimitedList", "List<")) and isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return value


def situations(template, together=2):
    """Ways in which the template's conditions can turn out, each a dict of condition to truth. Not all of them, which
    can be hundreds, but enough that whatever two conditions (or one) can be, they are in one of them."""
    every = _all_situations(template)
    seen_in = [frozenset(itertools.combinations_with_replacement(sorted(truths.items()), together)) for truths in every]
    chosen, seen = [], set()
    while True:
        best = max(range(len(every)), key=lambda at: len(seen_in[at] - seen))
        if chosen and not seen_in[best] - seen:
            return chosen
        chosen.append(every[best])
        seen |= seen_in[best]


def _all_situations(template):
    conditions = template.get("Conditions", {})
    asked = sorted(set(_refs(conditions)) & set(template.get("Parameters", {})))
    choices = [_choices(template["Parameters"][name], conditions, name) for name in asked]
    seen = []
    for values in itertools.product(*choices):
        parameters = {**defaults(template), **dict(zip(asked, values, strict=True))}
        truths = {name: evaluate(condition, parameters, conditions) for name, condition in conditions.items()}
        if truths not in seen:
            seen.append(truths)
    return seen


def settle(template, truths):
    """The template as it is deployed when its conditions are so: no Fn::If, no condition left."""
    settled = copy.deepcopy(template)
    settled.pop("Conditions", None)
    for section in ("Resources", "Outputs"):
        settled[section] = {
            name: part
            for name, part in settled.get(section, {}).items()
            if truths.get(part.pop("Condition", None), True)
        }
        settled[section] = _choose(settled[section], truths)
    if "Globals" in settled:
        settled["Globals"] = _choose(settled["Globals"], truths)
    return settled


_NO_VALUE = {"Ref": "AWS::NoValue"}


def _choose(value, truths):
    if isinstance(value, dict):
        if set(value) == {"Fn::If"}:
            condition, then, otherwise = value["Fn::If"]
            return _choose(then if truths[condition] else otherwise, truths)
        chosen = {key: _choose(part, truths) for key, part in value.items()}
        return {key: part for key, part in chosen.items() if part != _NO_VALUE}
    if isinstance(value, list):
        return [part for part in (_choose(part, truths) for part in value) if part != _NO_VALUE]
    return value


def _choices(declared, conditions, name):
    if "AllowedValues" in declared:
        return [typed(declared, str(value)) for value in declared["AllowedValues"]]
    compared = {_text(literal) for literal in _compared_with(conditions, name)}
    return [typed(declared, value) for value in sorted(compared | {"something"})]


def _compared_with(value, name):
    """The literals that a parameter is compared with."""
    if isinstance(value, dict):
        for function, argument in value.items():
            if function == "Fn::Equals" and name in set(_refs(argument)):
                yield from (part for part in argument if not isinstance(part, dict))
            else:
                yield from _compared_with(argument, name)
    elif isinstance(value, list):
        for part in value:
            yield from _compared_with(part, name)


def mentions(value):
    """The names that a value refers to, of resources and of parameters."""
    if isinstance(value, dict):
        for function, argument in value.items():
            match function:
                case "Ref":
                    yield argument
                case "Fn::GetAtt":
                    yield argument[0] if isinstance(argument, list) else argument.partition(".")[0]
                case "Fn::Sub":
                    text = argument[0] if isinstance(argument, list) else argument
                    yield from re.findall(r"\$\{(\w+)", text)
                    yield from mentions(argument[1:] if isinstance(argument, list) else [])
                case _:
                    yield from mentions(argument)
    elif isinstance(value, list):
        for part in value:
            yield from mentions(part)


def _refs(value):
    if isinstance(value, dict):
        for function, argument in value.items():
            if function == "Ref":
                yield argument
            else:
                yield from _refs(argument)
    elif isinstance(value, list):
        for part in value:
            yield from _refs(part)


def _listed(value):
    return value if isinstance(value, list) else [value]


def _text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
