# SPDX-License-Identifier: Apache-2.0
"""English words the negations need: auxiliaries, common verbs of video questions, and the forms of a verb.

A verb that is not listed is not guessed: whoever asks then takes a form that needs no verb. No question is listed here.
"""

from __future__ import annotations

from functools import cache

# Auxiliary -> its contraction with "not". Without one ("may", "am"): "not" stands alone, behind the subject.
CONTRACTED = {
    **{word: word + "n't" for word in "is are was were do does did has have had could would should must might".split()},
    "can": "can't",
    "will": "won't",
    "shall": "shan't",
}
DO = frozenset({"do", "does", "did"})
BE = frozenset({"is", "are", "was", "were"})
MODAL = frozenset(CONTRACTED) - DO - BE - {"has", "have", "had"}
NEGATIVE = frozenset("not nt n't no never nobody nothing none nowhere neither cannot unable".split())
# A word behind which a clause of its own begins: what is said there is not what the question asks about.
SUBORDINATE = frozenset(
    "after before when while as because since until till once if although though that who which whose where whenever "
    "so whereas upon during throughout despite".split()
)
DETERMINERS = frozenset(
    "the a an this that these those his her its their my your our some any every each both all another other one two "
    "three four five six seven eight nine ten 2 3 4 5 first second third fourth last no more most many few several "
    "s small big large tiny little tall short long young old".split()
)
PREPOSITIONS = frozenset(
    "in on at to of with by for from into onto over under behind beside near between around through across along "
    "above below inside outside against towards toward off and or than like wearing holding carrying using riding "
    "playing not nt".split()
)
COLOURS = frozenset(
    "black white red blue green yellow pink brown grey gray orange purple beige maroon gold silver stripes stripped "
    "striped checkered checked polkadot".split()
)
ADVERBS = frozenset(
    "suddenly then also just still always constantly repeatedly slowly quickly first eventually immediately "
    "finally both all often again tightly continuously carefully gently even".split()
)
PRONOUNS = frozenset("he she it they you we i someone somebody everyone everybody people there".split())

# base, past, participle where they are not what the rules give.
_IRREGULAR = """
arise arose arisen|awake awoke awoken|bear bore borne|beat beat beaten|become became become|begin began begun
bend bent bent|bite bit bitten|bleed bled bled|blow blew blown|break broke broken|bring brought brought
build built built|burst burst burst|buy bought bought|cast cast cast|catch caught caught|choose chose chosen
cling clung clung|come came come|creep crept crept|cut cut cut|deal dealt dealt|dig dug dug|dive dived dived|do did done
draw drew drawn|drink drank drunk|drive drove driven|eat ate eaten|fall fell fallen|feed fed fed|feel felt felt
fight fought fought|find found found|flee fled fled|fling flung flung|fly flew flown|forget forgot forgotten
freeze froze frozen|get got gotten|give gave given|go went gone|grind ground ground|grow grew grown|hang hung hung
have had had|hear heard heard|hide hid hidden|hit hit hit|hold held held|hurt hurt hurt|keep kept kept
kneel knelt knelt|know knew known|lay laid laid|lead led led|lean leaned leaned|leap leapt leapt|learn learned learned
leave left left|lend lent lent|let let let|lie lay lain|light lit lit|lose lost lost|make made made|mean meant meant
meet met met|pay paid paid|put put put|quit quit quit|read read read|ride rode ridden|ring rang rung|rise rose risen
run ran run|say said said|see saw seen|seek sought sought|sell sold sold|send sent sent|set set set|sew sewed sewn
shake shook shaken|shine shone shone|shoot shot shot|show showed shown|shrink shrank shrunk|shut shut shut
sing sang sung|sink sank sunk|sit sat sat|sleep slept slept|slide slid slid|speak spoke spoken|spend spent spent
spin spun spun|spit spat spat|split split split|spread spread spread|spring sprang sprung|stand stood stood
steal stole stolen|stick stuck stuck|sting stung stung|stride strode stridden|strike struck struck|swear swore sworn
sweep swept swept|swim swam swum|swing swung swung|take took taken|teach taught taught|tear tore torn|tell told told
think thought thought|throw threw thrown|understand understood understood|wake woke woken|wear wore worn
weave wove woven|win won won|wind wound wound|write wrote written
"""
_REGULAR = """
accelerate accompany act add adjust aim allow answer appear applaud apply appreciate approach arrange arrive ask
assist attach attack attain attempt attract avoid balance bark bathe beak bob boil bounce bow brake brush bump bury call
calm capture caress carry carve celebrate change chase check cheer chew clap clean clear clench climb close collect
collide comb comfort communicate complete connect continue control cook cool cough cover crash crawl cross crouch
cruise cry cuddle cup cycle dance decide decorate defend demonstrate deny depend describe destroy determine direct
disappear disconnect disturb drag drain dress drip drop dry dump edit emphasise encourage end engage enjoy enlarge
ensure enter entertain excite exercise exit explain explore express extend face fasten fetch fiddle fill film finish
fish fit fix flap flick flip float fold follow force frown gather gaze gesture giggle glance grab greet grip guide
handle happen harvest help hesitate hop hop hug huddle hurry ignore imitate indicate inflate insert inspect instruct
interact invite jerk join jog jump kick kiss knock land laugh launch lick lift like link listen load lock look loosen
love lower maintain make manage maneuver massage measure mix motivate move nibble nod notice nudge nuzzle observe
offer open operate order overtake pack paddle paint park participate pass pat pause peck pedal peel perform pet pick
pinch place plant play point poke pose position pour practice praise prance prepare present press pretend prevent
proceed promote protect pull pump punch push puzzle raise reach react rearrange receive record recover refuse release
remain remove repeat replace reply rescue respond rest retrieve return reverse reward rip rock roll rotate row rub sail
salute save scold scoop scrape scratch scream search seem serve shave shift shout shovel shower signal sip skate ski
skip slap slip slow smack smell smile smoke sneeze sniff soak sort splash spray sprinkle squat squeeze squint stack
start stare stay steady steer step stir stomp stoop stop straighten strap stretch stroke struggle stumble suck support
surf surround suspend sway sweat switch tackle talk tap taste tease test throw thrust tickle tidy tie tilt tip toss
touch tow train trail transfer transport travel treat trim trip try tuck tug turn twirl twist unpack unwrap use vary
vibrate visit wag wait walk wander want warm wash watch wave weigh welcome whisk wiggle wipe wobble work worry wrap
wrestle yawn yell zip zoom dangle crumple cram lunge shuffle strum sprawl topple peep peer scoot hover
"""
# Verbs that are as often a thing in these questions: behind a noun they may still belong to it ("the toy train").
AMBIGUOUS = frozenset(
    "act aim answer bark bat bite bow brush bump call cast change check comb control cook cover cup cut dance "
    "deal dress drink drive drop end exercise face film fish fly force grip guide hand handle hop hug huddle jump "
    "kick kiss knock land laugh lead light like load lock look love massage park pass pat peel pet pick place "
    "plant play point pose position present press pump punch push puzzle record rest return reward ride ring rip "
    "rock roll row run sail scratch search shake shave ship shovel show shower signal ski skate slide slip smell "
    "smile smoke spin splash split spray spread spring start step stick sting stop strap stretch stroke support "
    "surf swing switch talk tap taste test throw tie tip touch tow toy trail train transport travel treat trim "
    "trip turn twist use visit wait walk wash watch wave whisk wind work wrap zip zoom ground light fall fit back "
    "water float clean open close dry cool warm clear present complete lower slow calm tidy steady lie ski".split()
)

_FORMS: dict[str, tuple[str, str]] = {}
for _entry in _IRREGULAR.replace("\n", "|").split("|"):
    if _entry.strip():
        _base, _past, _participle = _entry.split()
        _FORMS[_base] = (_past, _participle)
VERBS = frozenset(_FORMS) | frozenset(_REGULAR.split())
_DOUBLED = frozenset(
    "bob chat clap cram drag drip drop fit flap flip grab grip hop hug hum jog knit nod pat pet pin plan pop "
    "rip rub ship skip slap slip snap spot step stir stop strap strum tap tip trap trim trip tug wag wrap zip "
    "dip chop nip".split()
)


@cache
def past(base: str) -> str:
    """take -> took, carry -> carried, grab -> grabbed."""
    return _FORMS[base][0] if base in _FORMS else _regular_past(base)


@cache
def participle(base: str) -> str:
    """take -> taken, open -> opened."""
    return _FORMS[base][1] if base in _FORMS else _regular_past(base)


@cache
def third_person(base: str) -> str:
    """take -> takes, carry -> carries, push -> pushes."""
    if base in ("have", "do", "go"):
        return {"have": "has", "do": "does", "go": "goes"}[base]
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")


def _regular_past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + (base[-1] + "ed" if base in _DOUBLED else "ed")


# Finite form -> (base, the "do" it needs). Past forms equal to the base ("put") are left to the base.
FINITE: dict[str, tuple[str, str]] = {}
for _base in sorted(VERBS):
    FINITE.setdefault(third_person(_base), (_base, "does"))
    if past(_base) != _base:
        FINITE.setdefault(past(_base), (_base, "did"))
PARTICIPLES = frozenset(participle(base) for base in VERBS) | {"lied", "wahsed", "able", "possible", "going", "likely"}
