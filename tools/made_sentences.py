"""English sentences made from templates with a seed, and a few that were written by hand, of other shapes and on other subjects."""

import random
import re

_WORDS = {
    "who": """teacher doctor farmer engineer pilot nurse student painter lawyer journalist neighbour driver chef scientist manager
        child soldier musician librarian carpenter mayor tourist customer player coach sailor judge baker programmer gardener""",
    "animal": "dog cat horse bird fox sheep whale bee tiger rabbit elephant frog wolf owl salmon",
    "thing": """book car house bridge computer letter bicycle table lamp phone camera garden boat painting door ticket machine
        piano jacket window map knife mirror clock battery engine newspaper suitcase medicine contract recipe""",
    "food": "bread soup rice cheese apples coffee chocolate fish salad pizza honey tea noodles potatoes cake",
    "place": """park school hospital station kitchen market library forest office museum village harbour factory airport theatre
        church desert mountain island river laboratory stadium courtroom bakery farm""",
    "city": "Paris London Tokyo Cairo Berlin Sydney Chicago Mumbai Rome Toronto Nairobi Moscow Lima Seoul Oslo",
    "did": """bought sold repaired painted lost found stole designed described photographed ignored cleaned moved broke borrowed
        returned admired measured replaced inspected""",
    "felt": "happy angry tired surprised worried proud hungry nervous bored grateful confused calm lonely excited sick",
    "how": "red old new broken expensive small heavy beautiful dangerous cheap modern famous empty strange wooden noisy",
    "field": """physics history economics medicine music law biology mathematics politics football chemistry philosophy art
        astronomy engineering cooking religion photography agriculture""",
    "event": """election war festival storm meeting wedding strike earthquake concert match exam trial holiday fire funeral
        conference experiment flood robbery election vaccination""",
    "when": """yesterday today tomorrow again|last week|every morning|in the winter|two years ago|after midnight|before lunch|
        during the night|on Monday|in 1998|next month|at noon|for ten days""",
    "sign": "rose fell doubled collapsed recovered stagnated improved exploded",
    "amount": "prices|wages|exports|temperatures|sales|interest rates|house prices|taxes|profits|oil reserves|the costs",
    "why": """because it was raining|although nobody asked|since the train was late|to save money|without any help|so that everyone
        could see it|because of the noise|despite the risk|as the law requires|in order to learn more""",
    "task": """open a bank account|learn a new language|fix a flat tire|lose weight|train a neural network|grow tomatoes|get a visa|
        write a letter of complaint|cook rice|remove a virus|find a cheap flight|sleep better|play the guitar|clean an oven""",
}  # fmt: skip
_TEMPLATES = """The {who} {did} the {how} {thing} {when}.|A {how} {thing} was left in the {place} of {city}.|
    Why did the {who} look so {felt} after the {event}?|How do I {task}?|What is the best way to {task} {when}?|
    The {animal} and the {animal} slept in the {place}.|{amount} in {city} {sign} {when} {why}.|
    I would like some {food} and {food}, please.|She is reading about {field} and {field} in the {place}.|
    After the {event}, the {who} felt {felt}, and the {who} felt {felt}.|Is there a {place} near the {place}?|
    The {event} in {city} was reported {when}.|My {who} never eats {food} {when}.|{amount} {sign} {why}.|
    The {who} {did} a {thing} {why}.|A {animal} chased the {who} through the {how} {place}.|
    Researchers of {field} in {city} {did} the {how} {thing}.|You should not {task} in a {place}.|
    This {thing} is too {how}, and the {food} here is cold.|Nobody in {city} remembers the {event}.|The {field} exam was {how}.|
    The {who}, who {did} our {thing}, moved to {city} {when}, {why}.|{food} with {food}: a recipe for the {event}|Help me {task}!|
    He said that the {who} and the {animal} were {felt} {when}.|{city} is known for its {how} {place} and its {food}."""
WRITTEN = (
    "Photosynthesis converts carbon dioxide and water into sugar.", "I can't believe they cancelled the show after one season.",
    "Your password must contain at least eight characters.", "The committee postponed its decision until further notice.",
    "Where can I see the northern lights in March?", "He laughed so hard that milk came out of his nose.",
    "Turn left at the second traffic light and keep going straight.", "Quarterly revenue exceeded analysts' expectations by 4%.",
    "The patient was diagnosed with type 2 diabetes.", "To be, or not to be, that is the question.", "Happy birthday, grandma!",
    "A group of men are playing basketball outdoors.", "The server returned an internal error; try again later.",
    "Two plus two equals four.", "It has been snowing since dawn and the roads are closed.", "Who wrote the novel 1984?",
    "Add the flour slowly while stirring to avoid lumps.", "Her grandfather fought in the Second World War.", "No.",
    "The spacecraft entered orbit around Mars on Tuesday.", "My internet connection keeps dropping every few minutes.",
    "The defendant pleaded not guilty to all charges.", "Penguins cannot fly, but they are excellent swimmers.",
    "Could you please send me the invoice by Friday?", "The movie was dull, but the soundtrack saved it.",
    "Regular exercise lowers the risk of heart disease.", "They got married on a beach in Bali.", "I'm allergic to peanuts.",
    "The goalkeeper saved a penalty in the final minute.", "Binary search runs in logarithmic time.",
)  # fmt: skip


def make(count, seed, vocabulary=()):
    """A list of `count` different sentences.

    Args:
        count, seed: int.
        vocabulary: list of str. In every other sentence a word of the list stands in most places, whether it makes sense or not:
            a student sees words and neighbours that the templates do not have.
    """
    choose = random.Random(seed)
    words = {kind: [" ".join(word.split()) for word in text.split("|" if "|" in text else None)] for kind, text in _WORDS.items()}
    templates = [" ".join(text.split()) for text in _TEMPLATES.split("|")]
    found = {}
    while len(found) < count:
        is_wild = bool(vocabulary) and len(found) % 2 == 1
        parts = re.split(r"\{(\w+)\}", choose.choice(templates))  # every other part is the kind of a word
        for index in range(1, len(parts), 2):
            of_kind = words[parts[index]]
            parts[index] = choose.choice(vocabulary if is_wild and choose.random() < 0.8 else of_kind)
        text = "".join(parts)
        found[text[0].upper() + text[1:]] = None
    return list(found)
