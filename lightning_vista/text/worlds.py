"""Worlds of the embedded stories."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle

#: Separator of the entries of a list, and of the columns of a table.
_SEPARATOR = "|"


@dataclass(frozen=True)
class Creature:
    """Creature with its facts, which are the same in every story.

    Attributes:
        name: Noun for the creature, such as `fox`.
        look: Adjective for its look.
        home: Noun for the place in which it sleeps.
        food: Noun for its food.
        voice: Verb for its expression of happiness.
    """

    name: str
    look: str
    home: str
    food: str
    voice: str


@dataclass(frozen=True)
class Trouble:
    """Trouble with its remedy, which is the same in every story.

    Attributes:
        name: Noun for the trouble, possibly with words before it, such as `fallen branch`.
        tool: Noun for the remedy, such as `saw`.
    """

    name: str
    tool: str


@dataclass(frozen=True)
class StoryWorld:
    """World of the stories of one kind.

    Attributes:
        name: Name of the world, which also labels its stories.
        share: Share of the world's stories among all, relative to the shares of other worlds.
        places: Places of the stories, with their prepositions.
        sights: Plural nouns for the sights.
        creatures: Creatures that live in the world.
        troubles: Troubles that occur in the world.
    """

    name: str
    share: float
    places: tuple[str, ...]
    sights: tuple[str, ...]
    creatures: tuple[Creature, ...]
    troubles: tuple[Trouble, ...]

    @classmethod
    def of(cls, name: str, share: float, *, places: str, sights: str, creatures: str, troubles: str) -> "StoryWorld":
        """Build a world from text.

        Args:
            name: Name of the world.
            share: Relative share of the world's stories.
            places: Places, separated by `|`.
            sights: Sights, separated by `|`.
            creatures: One creature per line: name, look, home, food and voice, separated by `|`.
            troubles: Troubles, separated by `|`, each as `trouble: tool`.

        Returns:
            The world.
        """
        rows = [_entries(line) for line in creatures.strip().splitlines()]
        pairs = [trouble.split(": ") for trouble in _entries(troubles)]
        return cls(
            name,
            share,
            _entries(places),
            _entries(sights),
            tuple(Creature(*row) for row in rows),
            tuple(Trouble(*pair) for pair in pairs),
        )


def _entries(text: str) -> tuple[str, ...]:
    """Split text at separators, and write each entry on one line with single spaces."""
    return tuple(" ".join(entry.split()) for entry in text.split(_SEPARATOR))


_TOYS = StoryWorld.of(
    "toys",
    2.0,
    places="in the toy shop | on the top shelf | inside a wooden chest | under the bed | in the nursery | by the "
    "dollhouse",
    sights="blocks | marbles | puzzles | dominoes | crayons | ribbons | kites | drums | stickers | jigsaws",
    creatures="""
        teddy    | patchwork | drawer   | buttons  | squeeze
        doll     | painted   | carton   | beads    | curtsy
        puppet   | checkered | bag      | thread   | dangle
        rocker   | varnished | corner   | sawdust  | rock
        soldier  | polished  | matchbox | tinsel   | march
        clown    | rainbow   | suitcase | confetti | juggle
        spinner  | glossy    | pouch    | wax      | whirl
    """,
    troubles="missing button: thimble | ripped seam: thread | flat battery: winder | faded cheek: brush | squashed "
    "carton: ruler | knotted string: comb | lost marble: torch",
)


def toy_world(worlds: Sequence[StoryWorld]) -> StoryWorld:
    """Build the world of toys: toys of its own, and a toy of each creature of other worlds.

    Such a toy has facts of the toy world: a `toy fox` does not resemble a fox.

    Args:
        worlds: The other worlds.

    Returns:
        The world.
    """
    creatures = (creature for world in worlds for creature in world.creatures)
    facts = cycle(_TOYS.creatures)
    toys = [replace(fact, name=f"toy {creature.name}") for creature, fact in zip(creatures, facts, strict=False)]
    return replace(_TOYS, creatures=(*_TOYS.creatures, *toys))


FOREST = StoryWorld.of(
    "forest",
    3.0,
    places="in the deep forest | under the tall trees | in a quiet woodland | at the edge of the woods | in a mossy "
    "thicket | between old oaks",
    sights="ferns | acorns | mushrooms | pinecones | birches | leaves | brambles | chestnuts | twigs | catkins",
    creatures="""
        fox        | red    | den      | blackberries | yip
        bear       | brown  | cave     | honey        | growl
        squirrel   | orange | drey     | hazelnuts    | chatter
        owl        | grey   | hollow   | moths        | hoot
        badger     | black  | sett     | roots        | grunt
        deer       | golden | glade    | buds         | leap
        hedgehog   | spiky  | leafpile | slugs        | snuffle
        woodpecker | green  | trunk    | grubs        | drum
    """,
    troubles="fallen branch: saw | lost trail: compass | thorny bush: shears | wasp nest: veil | muddy ditch: plank | "
    "dark burrow: lantern | broken treehouse: hammer",
)
SEA = StoryWorld.of(
    "sea",
    3.0,
    places="in the blue sea | beside a coral reef | near the sunken ship | under the foamy waves | in a salty lagoon | "
    "along the sandy shore",
    sights="shells | pearls | anemones | bubbles | tides | sponges | corals | anchors | dunes | currents",
    creatures="""
        dolphin  | silver   | bay      | herring   | click
        octopus  | purple   | grotto   | mussels   | squirm
        crab     | crimson  | crevice  | algae     | scuttle
        whale    | navy     | trench   | krill     | sing
        seahorse | yellow   | seagrass | plankton  | twirl
        turtle   | olive    | island   | jellyfish | paddle
        otter    | chestnut | kelp     | urchins   | float
        starfish | pink     | tidepool | oysters   | wriggle
    """,
    troubles="tangled net: knife | leaking boat: cork | torn sail: needle | stuck anchor: winch | thick fog: foghorn | "
    "strong current: rope | stranded raft: oar",
)
FARM = StoryWorld.of(
    "farm",
    3.0,
    places="on a sunny farm | behind the red barn | in the wide meadow | next to the dusty stable | by the duck pond | "
    "in a field of barley",
    sights="haystacks | pumpkins | tractors | fences | sheaves | buckets | furrows | scarecrows | cornstalks | "
    "orchards",
    creatures="""
        cow    | white    | barn    | clover   | moo
        horse  | tan      | stable  | oats     | neigh
        pig    | rosy     | sty     | turnips  | oink
        hen    | speckled | coop    | corn     | cluck
        sheep  | cream    | fold    | grass    | bleat
        goat   | beige    | shed    | thistles | butt
        duck   | mottled  | pond    | pondweed | quack
        donkey | ashen    | paddock | hay      | bray
    """,
    troubles="broken fence: mallet | dry trough: pump | flat wheel: jack | spilled milk: mop | runaway cart: brake | "
    "rusty gate: oil | weedy field: hoe",
)
TOWN = StoryWorld.of(
    "town",
    1.0,
    places="in a busy town | across the market square | on a narrow street | near the railway station | above the "
    "bakery | beside the library",
    sights="trams | lampposts | statues | windows | balloons | buskers | bicycles | posters | chimneys | pigeons",
    creatures="""
        cat      | tabby   | basket     | tuna     | purr
        dog      | dotted  | kennel     | bones    | bark
        mouse    | dusty   | cupboard   | cheese   | squeak
        parrot   | scarlet | cage       | crackers | whistle
        rat      | sooty   | drain      | crumbs   | scamper
        poodle   | curly   | cushion    | sausages | prance
        hamster  | sandy   | wheelhouse | seeds    | nibble
        goldfish | shiny   | bowl       | flakes   | splash
    """,
    troubles="missed bus: taxi | locked door: key | dropped purse: magnet | burst pipe: wrench | noisy alarm: switch | "
    "cracked pavement: cement | empty fridge: grocer",
)
MOUNTAIN = StoryWorld.of(
    "mountain",
    1.0,
    places="high on a mountain | above the steep cliffs | along the rocky ridge | near the rushing waterfall | in a "
    "windy pass | below the jagged peak",
    sights="boulders | glaciers | crystals | valleys | canyons | echoes | gorges | summits | cairns | edelweiss",
    creatures="""
        eagle  | bronze | eyrie    | trout    | soar
        marmot | tawny  | tunnel   | gentians | whoop
        yak    | shaggy | shelter  | lichen   | snort
        ibex   | fawn   | ledge    | herbs    | clamber
        condor | dark   | overhang | carrion  | glide
        llama  | woolly | corral   | shrubs   | hum
        lynx   | smoky  | lair     | hares    | pounce
        pika   | russet | scree    | flowers  | peep
    """,
    troubles="steep wall: ladder | swaying bridge: cable | falling stone: helmet | slippery slope: crampons | "
    "broken ski: glue | heavy pack: mule | sudden avalanche: shovel",
)
DESERT = StoryWorld.of(
    "desert",
    1.0,
    places="in the hot desert | beyond the golden sands | near a green oasis | behind the ancient pyramid | under the "
    "blazing sun | on a dry plateau",
    sights="cactuses | mirages | caravans | fossils | tents | palms | ruins | wells | carpets | tumbleweeds",
    creatures="""
        camel    | caramel  | bivouac  | dates    | spit
        scorpion | amber    | crack    | beetles  | rattle
        lizard   | emerald  | gully    | ants     | dart
        meerkat  | buff     | mound    | crickets | stand
        vulture  | charcoal | pillar   | scraps   | circle
        gecko    | lime     | gap      | flies    | chirrup
        jerboa   | pale     | sandhole | tubers   | bounce
        cobra    | striped  | jar      | eggs     | sway
    """,
    troubles="empty flask: fountain | blinding storm: scarf | burning sand: sandals | broken compass: sextant | "
    "buried treasure: spade | scratched lens: polish | collapsed tent: pole",
)
CASTLE = StoryWorld.of(
    "castle",
    1.0,
    places="in a stone castle | inside the highest tower | across the drawbridge | in the royal court | down in the "
    "dungeon | around the throne",
    sights="banners | crowns | shields | candles | tapestries | goblets | trumpets | swords | jewels | portraits",
    creatures="""
        dragon  | fiery      | vault   | coals      | roar
        unicorn | pearly     | chapel  | petals     | glow
        griffin | brassy     | turret  | venison    | screech
        goblin  | greenish   | cellar  | toadstools | cackle
        ogre    | bluish     | moat    | stew       | stomp
        fairy   | glittering | belfry  | nectar     | shimmer
        phoenix | flaming    | brazier | incense    | flare
        gnome   | ruddy      | attic   | porridge   | hop
    """,
    troubles="rusted lock: lockpick | magic curse: potion | broken crown: goldsmith | stolen scepter: spyglass | "
    "dull blade: whetstone | wobbly throne: wedge | drafty hall: curtain",
)
GARDEN = StoryWorld.of(
    "garden",
    1.0,
    places="in a flower garden | among the roses | beneath the lilac hedge | on the garden path | inside the warm "
    "greenhouse | by the vegetable patch",
    sights="tulips | daisies | sunflowers | watercans | carrots | petunias | trellises | cobwebs | poppies | radishes",
    creatures="""
        bee         | fuzzy       | hive      | pollen  | buzz
        snail       | spiral      | flowerpot | lettuce | slide
        ladybird    | spotted     | daisy     | aphids  | flutter
        caterpillar | stripy      | cocoon    | cabbage | munch
        spider      | hairy       | web       | gnats   | spin
        robin       | redbreasted | nest      | worms   | tweet
        mole        | velvety     | molehill  | larvae  | dig
        butterfly   | colourful   | bluebell  | sap     | flit
    """,
    troubles="wilted rose: sprinkler | overgrown hedge: clippers | hungry aphid: soap | hard soil: rake | "
    "leaning bean: stake | frosty night: blanket | clogged hose: wire",
)
SPACE = StoryWorld.of(
    "space",
    1.0,
    places="in outer space | on a distant planet | aboard the starship | behind the crescent moon | near a spinning "
    "galaxy | inside the lunar station",
    sights="comets | asteroids | satellites | craters | nebulas | meteors | rockets | telescopes | antennas | orbits",
    creatures="""
        robot     | metallic  | pod     | batteries   | beep
        alien     | turquoise | saucer  | stardust    | gurgle
        astronaut | helmeted  | capsule | paste       | salute
        cyborg    | chrome    | hangar  | fuel        | whirr
        martian   | maroon    | crater  | pebbles     | wobble
        android   | plastic   | charger | electricity | blink
        moonling  | lilac     | dome    | moonbeams   | giggle
        blob      | slimy     | tank    | jelly       | jiggle
    """,
    troubles="dead engine: sparkplug | lost signal: transmitter | cracked visor: tape | loose bolt: spanner | "
    "frozen computer: technician | low oxygen: cylinder | wrong course: atlas",
)
SNOW = StoryWorld.of(
    "snow",
    1.0,
    places="in the frozen north | on a floating iceberg | across the snowy tundra | beside the igloo | under the "
    "northern lights | near the icy fjord",
    sights="icicles | snowflakes | sledges | snowdrifts | footprints | auroras | floes | skates | mittens | crystals",
    creatures="""
        penguin   | tuxedoed | rookery   | sardines | waddle
        walrus    | wrinkled | beach     | clams    | bellow
        reindeer  | dappled  | stall     | moss     | jingle
        husky     | frosty   | snowbank  | jerky    | howl
        puffin    | beaky    | cliffhole | sprats   | flap
        seal      | sleek    | icehole   | squid    | clap
        wolverine | sable    | snowcave  | marrow   | snarl
        ermine    | snowy    | rockpile  | voles    | slink
    """,
    troubles="thin ice: icepick | frozen latch: kettle | deep snowdrift: snowshoes | broken sled: twine | "
    "cold paw: mitten | dim lamp: matches | hidden crevasse: probe",
)

#: The worlds of living things. `forest`, `sea` and `farm` have a sixth of the stories each.
LIVING = (FOREST, SEA, FARM, TOWN, MOUNTAIN, DESERT, CASTLE, GARDEN, SPACE, SNOW)
#: All worlds, by name; the last one tells of toys of the others' creatures.
WORLDS = {world.name: world for world in (*LIVING, toy_world(LIVING))}
