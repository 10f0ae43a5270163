"""The worlds of the embedded corpus. Their words differ, but for colours, so that any of them can be forgotten."""

from lightning_vista.text.toys import toy_world
from lightning_vista.text.world import World

FOREST = World.of(
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
SEA = World.of(
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
FARM = World.of(
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
TOWN = World.of(
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
MOUNTAIN = World.of(
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
DESERT = World.of(
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
CASTLE = World.of(
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
GARDEN = World.of(
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
SPACE = World.of(
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
SNOW = World.of(
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
