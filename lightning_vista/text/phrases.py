"""Words of the embedded corpus that do not belong to a world."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Anna Ben Clara David Ella Finn Grace Henry Ivy Jack Kira Leo Mia Noah Olga Paul Quinn Rosa Sam Tina Uma Victor "
    "Wendy Xavier Yara Zoe Adam Bella Carl Daisy Emil Fiona George Hanna Igor Julia Karl Lily Max Nora Oscar Pia Rolf "
    "Sara Tom Ursula Vera Walter Yusuf Zara Amir Bruno Cora Dora Eli Freya Gus Hugo Ida Jonas Kate Lars Maya Nils Otto "
    "Polly Rita Simon Tara Ulf Vince Willa Abel Boris Celia Dean Edith Frank Gina Hazel"
)
MOODS = _words(
    "brave clever shy curious gentle cheerful sleepy grumpy lonely kind playful careful proud quiet funny silly bold "
    "friendly nervous patient polite lazy eager honest stubborn dreamy jolly wise noble merry naughty hopeful timid "
    "restless thoughtful lively modest loyal charming forgetful"
)
WEATHERS = _words(
    "rainy breezy cloudy bright chilly misty stormy lovely calm grey warm fresh clear strange perfect gloomy crisp "
    "peaceful ordinary special"
)
TIMES = ("morning", "afternoon", "evening", "day", "Monday", "Tuesday", "Friday", "Sunday", "weekend", "holiday")
GAMES = (
    "played hide and seek",
    "told riddles",
    "ran a race",
    "danced in a ring",
    "counted to a hundred",
    "drew pictures",
    "built a secret hut",
    "threw a ball",
    "climbed up and down",
    "jumped over a line",
    "looked for clues",
    "sang a duet",
    "made up a poem",
    "pretended to be kings",
    "rolled around",
    "swapped stickers",
    "guessed numbers",
    "skipped rope",
    "practised magic tricks",
    "chased each other",
)
SURPRISES = ("suddenly", "then", "all at once", "after a while", "soon", "without warning", "by accident")
FOUND = ("came upon", "ran into", "noticed", "discovered", "stumbled over", "were stopped by", "faced")
FEARS = _words(
    "sad scared worried upset helpless angry puzzled lost afraid tired confused annoyed miserable hopeless "
    "disappointed frightened tearful anxious"
)
WORRIES = (
    "Oh no!",
    "What shall we do?",
    "Please help me!",
    "This is terrible!",
    "How awful!",
    "We will never manage!",
    "Who can fix that?",
    "Now the fun is over!",
    "I want my mother!",
    "Is there any hope?",
)
CRIED = ("cried", "sighed", "whispered", "shouted", "wept", "gasped", "mumbled", "groaned")
REPLIED = ("said", "answered", "replied", "explained", "smiled", "laughed", "promised", "declared")
FETCHED = ("fetched", "borrowed", "found", "bought", "grabbed", "brought", "used", "tried")
SOLVED = ("gone", "no problem anymore", "forgotten", "dealt with", "only a memory", "history", "nothing to fear")
JOYS = _words(
    "happy proud glad safe thankful delighted relieved content excited overjoyed joyful grateful pleased satisfied "
    "lucky wonderful better warm"
)
MORALS = (
    "Friends make everything easier.",
    "It is good to share.",
    "Never give up.",
    "Always ask when you need a hand.",
    "Kindness costs nothing.",
    "Two heads are smarter than one.",
    "Practice brings success.",
    "Listening is an art.",
    "Courage grows with each step.",
    "Mistakes teach us a lesson.",
    "Slow work is often the finest.",
    "Nobody should be left alone.",
    "Truth wins in the end.",
    "Small deeds matter.",
    "Home is where love lives.",
)
SURE = ("", "", "Everyone knows that", "It is true that", "Of course,", "Do not forget:", "Teachers say that")
