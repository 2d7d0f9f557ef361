"""Everything public is annotated: each parameter and return, each property, each field of a dataclass."""

import dataclasses
import functools
import inspect
import types

import tfopt

BARE = ("dict", "list", "set", "tuple", "Callable")  # these do not say what they hold


def public_objects():
    """(name, object) of all functions and classes in `tfopt.__all__`, those of `tfopt.legacy` included."""
    for name in tfopt.__all__:
        public = getattr(tfopt, name)
        if inspect.ismodule(public):
            yield from ((f"{name}.{inner}", getattr(public, inner)) for inner in public.__all__)
        else:
            yield name, public


def members(public):
    """(name, attribute) of a class that tfopt defines: its own, and those of its bases in tfopt."""
    for base in public.__mro__:
        if base.__module__.partition(".")[0] == "tfopt":
            yield from ((f"{base.__name__}.{name}", each) for name, each in vars(base).items() if is_public(name))


def is_public(name):
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def functions_of(attribute):
    """The functions behind an attribute of a class: of a method one, of a property up to three."""
    if isinstance(attribute, property):
        return [each for each in (attribute.fget, attribute.fset, attribute.fdel) if each is not None]
    if isinstance(attribute, staticmethod | classmethod):
        return [attribute.__func__]
    if isinstance(attribute, functools.cached_property):
        return [attribute.func]
    return [attribute] if isinstance(attribute, types.FunctionType) else []


def is_written(function):
    """Whether tfopt wrote it, and not `dataclass`, which makes functions of text and adds its own."""
    return inspect.unwrap(function).__code__.co_filename != "<string>" and function.__module__ != "dataclasses"


def missing_in(name, function):
    """Yields what `function` leaves open."""
    signature = inspect.signature(function)
    for place, parameter in enumerate(signature.parameters.values()):
        is_object = place == 0 and parameter.name in ("self", "cls", "mcs")
        if not is_object and (parameter.annotation is inspect.Parameter.empty or says_little(parameter.annotation)):
            yield f"{name}({parameter.name})"
    if signature.return_annotation is inspect.Signature.empty or says_little(signature.return_annotation):
        yield f"{name} -> return"


def says_little(annotation):
    return text_of(annotation).rpartition(".")[2] in BARE


def text_of(annotation):
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def missing_in_class(name, public):
    for member, attribute in members(public):
        for function in functions_of(attribute):
            if is_written(function):
                yield from missing_in(member, function)
    if dataclasses.is_dataclass(public):
        for field in dataclasses.fields(public):
            if says_little(field.type) or text_of(field.type) == "object":
                yield f"{name}.{field.name}: {text_of(field.type)}"


def test_public_names_are_annotated():
    missing = {}
    for name, public in public_objects():
        found = missing_in_class(name, public) if inspect.isclass(public) else missing_in(name, public)
        missing |= dict.fromkeys(found)
    assert not missing, f"{len(missing)} are not annotated:\n" + "\n".join(missing)


def test_the_walk_finds_what_is_missing():
    """An unannotated method, property and field are found; inherited, generated and private methods are left out."""

    class Base:
        def inherited(self, x):
            return x

    @dataclasses.dataclass(frozen=True)
    class Bad(Base):
        good: int
        items: "tuple"

        @property
        def size(self):
            return len(self.items)

        def method(self, a: int, *rest, option: "dict[str, int] | None" = None) -> "list":
            return [a, *rest, option]

        @classmethod
        def made(cls, source: str) -> "Bad":
            return cls(0, (source,))

        def _private(self, x):
            return x

    Bad.__module__ = "tfopt.bad"
    assert list(missing_in_class("Bad", Bad)) == [
        "Bad.size -> return",
        "Bad.method(rest)",
        "Bad.method -> return",
        "Bad.items: tuple",
    ]

    def bad(x, y: int):
        return x

    assert list(missing_in("bad", bad)) == ["bad(x)", "bad -> return"]
