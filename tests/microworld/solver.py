"""Answers questions from a scene by reading the question's words; shares no code with the package's own answers."""

import re
from collections.abc import Callable

from viral.microworld.scenes import SHAPES, Scene, Thing

COUNT = re.compile(r"How many (\w+) are in the image\?")
RELATION = re.compile(r"positions of the ([\w ]+) and the ([\w ]+) in the image provided")
EXISTENCE = re.compile(r"Is there a (\w+) in the image\?")
COLOUR = re.compile(r"What colour is the (\w+)\?")
SHAPE = re.compile(r"What shape is the (\w+) thing\?")
NUMBER_IS = re.compile(r"Is the number of (\w+) in the image (\d)(?: or (\d))?\?")
_PLACE = "to the left of|to the right of|above|below"
PLACE_IS = re.compile(rf"Is the ([\w ]+?) ({_PLACE})(?: or (?:{_PLACE}))? the ([\w ]+)\?")
COLOUR_IS = re.compile(r"Is the (\w+) (\w+)(?: or (\w+))?\?")
IN_PHOTO = re.compile(r"Where is the ([\w ]+) in the photo\?")
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
    if match := IN_PHOTO.search(question):
        thing = only(match[1], scene)
        across, down = thing.x / scene.width, thing.y / scene.height
        if abs(across - 0.5) > abs(down - 0.5):
            return "left" if across < 0.5 else "right"
        return "top" if down < 0.5 else "bottom"
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


def holds(question: str, option: str, scene: Scene) -> bool:
    """Whether an option answers one of MMStar's questions."""
    shapes = [thing.shape for thing in scene.things]
    tests: dict[str, Callable[[], bool]] = {
        "What is the ground": lambda: option == scene.ground,
        "Which shape occurs most": lambda: all(
            shapes.count(option) > shapes.count(other) for other in set(shapes) - {option}
        ),
        "In which corner": lambda: option == _corner(only(_between(question, "is the ", "?"), scene), scene),
        "Which shape has the same colour": lambda: any(
            thing.colour == only(_between(question, "as the ", "?"), scene).colour
            for thing in scene.things
            if thing.shape == option
        ),
        "Reading from left": lambda: min(scene.things, key=lambda thing: thing.x).shape == option,
        "Which of these shapes is missing": lambda: option not in shapes,
        "If all things fell": lambda: (
            max(scene.things, key=lambda thing: thing.y + thing.radius).shape == option
        ),
        "How many corners": lambda: (
            {"triangle": "3", "square": "4", "star": "10", "cross": "12"}[question.split()[5]] == option
        ),
        "How many things": lambda: option == str(len(shapes)),
    }
    if match := re.match(r"How many (\w+) and (\w+) are in the image together", question):
        return option == str(number_of(match[1], scene) + number_of(match[2], scene))
    for start, test in tests.items():
        if question.startswith(start):
            return test()
    return solve(question, scene) == option


def true_of(question: str, scene: Scene) -> bool:
    """Whether one of MME's claims is true."""
    if match := re.match(r"Is the number of (\w+) and (\w+) in the image together (\d+)", question):
        return number_of(match[1], scene) + number_of(match[2], scene) == int(match[3])
    if match := re.match(r"Is the (\w+) thing a (\w+)\?", question):
        return [thing.shape for thing in scene.things if thing.colour == match[1]] == [match[2]]
    if match := re.match(r"Is the largest thing in the image a (\w+)\?", question):
        return max(scene.things, key=lambda thing: thing.radius).shape == match[1]
    if match := re.match(r"Does this artwork use the colour (\w+)\?", question):
        return any(thing.colour == match[1] for thing in scene.things)
    if match := re.match(r"Is this a scene on (\w+)\?", question):
        return scene.ground == match[1]
    if match := re.match(r"Would feet be (\w+) here\?", question):
        return (scene.ground == "water") == (match[1] == "wet")
    if match := re.match(r"Is this a picture of (.*) on (\w+)\?", question):
        return match[2] == scene.ground and _listed(match[1]) == _colours_by_shape(scene)
    return solve(question, scene) == "yes"


def _between(text: str, before: str, after: str) -> str:
    return text.split(before)[-1].split(after)[0]


def _corner(thing: Thing, scene: Scene) -> str:
    row = "top" if thing.y < scene.height / 2 else "bottom"
    return f"{row} {'left' if thing.x < scene.width / 2 else 'right'}"


def _listed(text: str) -> dict[str, tuple[int, set[str]]]:
    """`two red and blue stars and one white ring` -> number and colours of each shape."""
    numbers = ("no", "one", "two", "three", "four", "five", "six")
    found = {}
    number, colours = 0, set()
    for word in re.findall(r"\w+", text):
        shape = next((s for s in SHAPES if word in (s, s + "s", s + "es")), None)
        if word in numbers:
            number, colours = numbers.index(word), set()
        elif shape:
            found[shape] = (number, colours)
        elif word != "and":
            colours.add(word)
    return found


def _colours_by_shape(scene: Scene) -> dict[str, tuple[int, set[str]]]:
    return {
        shape: (scene.count(shape), {thing.colour for thing in scene.things if thing.shape == shape})
        for shape in scene.shapes
    }
