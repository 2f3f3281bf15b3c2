# SPDX-License-Identifier: Apache-2.0
"""Broken inputs: every place of parsed JSON, taken out, set to something else or repeated, by hand or by hypothesis."""

import copy

from hypothesis import strategies as st

# Any JSON, and now and then what some form would take for an answer.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8) | st.just("(C)"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def spots(value, path=()):
    """Every place inside a JSON value, as a tuple of keys; the value itself is ()."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in children:
        yield from spots(inner, (*path, key))


def inside(content, path):
    """What stands at `path`."""
    for step in path:
        content = content[step]
    return content


def without(*path):
    """A change that takes out what stands at `path`."""

    def change(content):
        del inside(content, path[:-1])[path[-1]]

    return change


def setting(value, *path):
    """A change that puts `value` at `path`; a function is called with what stands there."""

    def change(content):
        node = inside(content, path[:-1])
        node[path[-1]] = value(node[path[-1]]) if callable(value) else value

    return change


def broken(change, content):
    """A copy of `content` with the change."""
    content = copy.deepcopy(content)
    change(content)
    return content


def damaged(data, content, most=2):
    """A copy of `content` with one to `most` changes anywhere, drawn by hypothesis, and the keys they were made at."""
    content, keys = copy.deepcopy(content), []
    for _ in range(data.draw(st.integers(1, most), label="changes")):
        places = [spot for spot in spots(content) if spot]
        if not places:
            break
        path = data.draw(st.sampled_from(places), label="place")
        node, kind = inside(content, path[:-1]), data.draw(st.sampled_from(["remove", "set", "repeat"]), label="kind")
        if kind == "remove":
            without(*path)(content)
        elif kind == "repeat" and isinstance(node, list):
            node.insert(path[-1], copy.deepcopy(node[path[-1]]))
        else:
            setting(data.draw(JSON, label="value"), *path)(content)
        keys.append(path[-1])
    return content, keys
