"""Answers questions from a scene by reading the question's words; shares no code with the package's own answers."""

import re

from viral.microworld.scenes import Scene, Thing

COUNT = re.compile(r"How many (\w+) are in the image\?")
RELATION = re.compile(r"positions of the ([\w ]+) and the ([\w ]+) in the image provided")
EXISTENCE = re.compile(r"Is there a (\w+) in the image\?")
COLOUR = re.compile(r"What colour is the (\w+)\?")
SHAPE = re.compile(r"What shape is the (\w+) thing\?")
NUMBER_IS = re.compile(r"Is the number of (\w+) in the image (\d)(?: or (\d))?\?")
_PLACE = "to the left of|to the right of|above|below"
PLACE_IS = re.compile(rf"Is the ([\w ]+?) ({_PLACE})(?: or (?:{_PLACE}))? the ([\w ]+)\?")
COLOUR_IS = re.compile(r"Is the (\w+) (\w+)(?: or (\w+))?\?")
PHRASES = {"to the left of": "left", "to the right of": "right"}


def solve(question: str, scene: Scene) -> str:
    """The answer in words; for a claim yes or no."""
    if match := COUNT.search(question):
        return str(number_of(match[1], scene))
    if match := RELATION.search(question):
        return where(only(match[1], scene), only(match[2], scene))
    if match := EXISTENCE.search(question):
        return yes(any(thing.shape == match[1] for thing in scene.things))
    if match := COLOUR.search(question):
        return only(match[1], scene).colour
    if match := SHAPE.search(question):
        (thing,) = [thing for thing in scene.things if thing.colour == match[1]]
        return thing.shape
    if match := NUMBER_IS.search(question):
        number = str(number_of(match[1], scene))
        return number if match[3] else yes(number == match[2])
    if match := PLACE_IS.search(question):
        relation = where(only(match[1], scene), only(match[3], scene))
        return (
            relation if " or " in question.split("?")[0] else yes(relation == PHRASES.get(match[2], match[2]))
        )
    match = COLOUR_IS.search(question)
    assert match, question
    colour = only(match[1], scene).colour
    return colour if match[3] else yes(colour == match[2])


def number_of(plural: str, scene: Scene) -> int:
    return sum(plural in (thing.shape + "s", thing.shape + "es") for thing in scene.things)


def only(name: str, scene: Scene) -> Thing:
    """The one thing of this name; an ambiguous name fails here."""
    *colour, shape = name.split()
    (thing,) = [t for t in scene.things if t.shape == shape and (not colour or t.colour == colour[0])]
    return thing


def where(first: Thing, second: Thing) -> str:
    across, down = second.x - first.x, second.y - first.y
    if abs(across) > abs(down):
        return "left" if across > 0 else "right"
    return "above" if down > 0 else "below"


def yes(true: bool) -> str:
    return "yes" if true else "no"


def chosen(prompt: str, letter: str) -> str:
    """The option text behind a letter, from `(A) text` or `A. Text` lines."""
    (text,) = re.findall(rf"^\(?{letter}[).] (\w+)$", prompt, flags=re.MULTILINE)
    return text.lower()
