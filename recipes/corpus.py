"""What is said in the training data of the priors, and by which of eSpeak NG's voices. All sentences are ours."""

from __future__ import annotations

import numpy as np

ENGLISH = (
    """
The big brown bear popped a balloon behind my mother's barn, and nobody moved.
Please put both purple boxes by the back window.|My neighbour Emma bakes warm plum pie on Monday mornings.
We watched five very fine foxes flee over the frozen river.
Choose the cheese, she said, and I shall wash the dishes.|Thirty-three thieves thought they thrilled the throne.
Joy enjoys the noisy toys that her boy destroys.|How now? The brown cow bows down outside our house.
I like wild white tigers, bright skies and ripe limes.|You used to choose blue shoes for school, Lou.
Look, the good cook took a book and shook his foot.|Far from the market, a dark car parked in the yard.
Her third word was heard by the girl with the purse.|Four more storms tore the door off the shore house.
Ask Anne to pass the black hat and that flat map.|Get ten red pens and send them west by seven.
Six little kittens sit in a big tin dish.|Even these three geese seem pleased to see the sea.
Only the old boat goes slowly over the cold ocean.|Bob got a lot of hot coffee from the shop on the dock.
Money comes from another country once a month.|A pale grey whale swam eight days against the waves.
Measure the treasure with pleasure, usually at leisure.|Yes, you may yell for the yellow yacht.
Quick quiet queens quarrel about square quilts.|The young king sang a long song in the morning.
What would William want with one wet wolf?|Really rare red roses rarely grow around here.
Lily's little lamb fell asleep in the tall yellow hall.|Go and get the green bag again, Greg.
Could the cat climb the broken oak, or could it not?|He had hardly heard her humming in the huge hall.
Pepper, paper, people, purple: pop them open.|Maybe my mum may remember me, hmm, maybe not.
Bring the baby a bib and a bubble bath.|Never, ever give a very heavy vase to Vera.|This is it.|Stop!
Well, well, well, what have we here?|No, no, absolutely not.|Oh, I see.|Thank you so much for coming today.
Good evening, and welcome to the programme.|Let me explain how this works in a few simple steps.
First, open the window; then breathe in, and count to ten.
In nineteen eighty-four the number was two hundred and fifty-six.
Nobody knew whether the weather would improve before Wednesday.
I believe that people deserve better, and we can build it together.
The economy grew by about three percent over the past year.
My fellow citizens, this week we made a promise to every family.
The temperature may drop below freezing, so bring a warm jumper.
Our company provides simple software for small businesses.
If you have any problem, please push the button and wait for help.|Ladies and gentlemen, we are about to land.
The committee will publish its report by the end of the month.
Both teams played brilliantly, but the home team won by a point.
Imagine a place where every morning begins with music.
When the rain stopped, the whole village came out to dance.
Scientists have found a remarkable way to store energy in salt.
Would you mind moving your umbrella a bit, please?
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

OTHERS: dict[str, tuple[str, ...]] = {
    "de": ("Guten Morgen, wie geht es Ihnen heute?", "Der Bäcker am Bahnhof backt braune Brötchen und Apfelkuchen.",
           "Wir müssen pünktlich um halb sieben aufbrechen, sonst verpassen wir den Zug.",
           "Schöne grüne Hügel liegen über dem blauen Fluss.", "Bitte bringen Sie mir noch einen Becher Milch."),
    "fr": ("Bonjour à tous, je suis très heureux de vous voir.", "Ma mère prépare une bonne soupe aux pommes de terre.",
           "Un petit peu de beurre et beaucoup de pain, s'il vous plaît.", "Nous partons demain pour la mer.",
           "Le vieux bateau bleu passe sous le pont de pierre."),
    "es": ("Buenos días, me llamo Pablo y vivo en Bilbao.", "Mi abuela prepara pan y papas para toda la familia.",
           "El problema más importante es el cambio del tiempo.", "Vamos a la playa mañana por la mañana.",
           "Muchas gracias por su amable ayuda."),
    "it": ("Buongiorno, come va oggi?", "La bambina beve un bicchiere di buon latte bianco.",
           "Prima di partire bisogna sempre preparare le borse.", "Mi piace molto la musica di questa bella città."),
    "pt": ("Bom dia, muito obrigado por ter vindo.", "O menino comprou pão, bolo e uma bola azul.",
           "Amanhã vamos todos passear na praia."),
    "nl": ("Goedemorgen, mag ik u wat vragen?", "De buurman bouwt een boot bij de brug.",
           "Morgen gaan we met de bus naar mijn moeder."),
    "pl": ("Dzień dobry, bardzo mi miło.", "Moja babcia piecze pyszny placek z jabłkami.",
           "Proszę podać mi białą filiżankę."),
    "sv": ("God morgon, hur mår du i dag?", "Pappa köpte blåbär, bröd och mjölk.", "Båten kommer på måndag."),
    "tr": ("Günaydın, bugün hava çok güzel.", "Babam bana büyük bir bisiklet aldı.", "Lütfen pencereyi biraz açın."),
    "fi": ("Hyvää huomenta, mitä kuuluu?", "Äiti paistoi pullaa ja puuroa pojalle.",
           "Huomenna menemme bussilla mummolaan."),
}  # fmt: skip

_WHO = ("my mother", "the old baker", "a brave pilot", "Barbara", "the whole family", "our neighbour",
        "Peter Brown", "nobody", "the young woman", "a famous painter", "the prime minister", "Sophie",
        "everyone", "the chemist", "Jonathan", "a huge elephant", "the president", "your brother", "Miriam",
        "the zoo keeper", "Hugh", "the judge", "a thoughtful teacher", "Phoebe", "the boys", "this company",
        "the mayor", "an amateur cyclist")  # fmt: skip
_DID = ("bought", "has never forgotten", "will probably build", "moved", "pushed away", "often talks about",
        "remembers", "threw out", "would love to have", "is looking for", "found", "may bring", "painted",
        "could not give up", "has just finished", "wrapped up", "showed me", "destroyed", "began to like",
        "measured", "chose", "keeps", "asked about", "wants to save", "sold", "imagines", "heard of",
        "climbed over")  # fmt: skip
_WHAT = ("the blue umbrella", "a bowl of warm porridge", "that broken lamp", "five yellow boats",
         "the map of the moon", "a really funny book", "the biggest apple", "a pair of boots",
         "the last chapter", "an empty box", "some fresh vegetables", "the voice of the people",
         "a small wooden bridge", "the thing on the chair", "a cup of peppermint tea", "the whole problem",
         "eight white mice", "their favourite museum", "a job in Europe", "the plan for the summer",
         "a bit of brown paper", "the unusual noise", "a garage full of wheels", "the orange cushion",
         "hope and patience", "the wonderful view", "more than a million pounds")  # fmt: skip
_HOW = ("before the weekend", "without a single word", "in the middle of the afternoon",
        "because it was cheap", "on the way home", "by the end of February", "with both hands",
        "for the very first time", "near the harbour", "as if nothing had happened", "although it was raining",
        "from time to time", "in a beautiful village", "just above the valley", "to be perfectly honest",
        "this morning at five", "when the bell rang", "and smiled", "which made me laugh",
        "but that is another story", "rather than wait", "under the bridge")  # fmt: skip
_OPEN = ("", "", "", "Well, ", "I think that ", "As far as I know, ", "Maybe ", "However, ", "Last year ",
         "Please believe me: ", "Suppose ", "You know, ", "Meanwhile ", "In my opinion ", "They say that ",
         "Of course, ")  # fmt: skip

HELD_OUT = ("A bumblebee hovered above the peppers in Mabel's garden.",
            "Pam's puppy jumped up and bit the plumber's boot.",
            "The museum opens at half past nine, except on public holidays.",
            "We hope to improve both the airport and the ferry.",
            "Somebody must have mixed up the labels on these bottles.",
            "Could you turn the volume down a little, please?",
            "She felt the cool breath of the cave upon her cheek.",
            "Their marvellous performance was broadcast live.",
            "I owe you a proper apology for what I said on Sunday.",
            "The captain steered the ship between two icebergs.",
            "Mushrooms, beans and a pinch of pepper make a simple supper.",
            "What a shame that the theatre has been closed!",
            "Hundreds of volunteers planted trees along the motorway.", "Go on, jump, the water is lovely!",
            "By the way, my cousin from Zimbabwe is visiting us in April.",
            "The village church was rebuilt after the war.")  # fmt: skip
"""Sentences for judging; none of them is generated or listed above."""

VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+klatt",
            "+klatt2", "+klatt4", "+klatt5", "+Alex", "+Alicia", "+Andrea", "+Andy", "+Annie", "+Denis",
            "+Diogo", "+Gene", "+Hugo", "+Jacky", "+Lee", "+Marco", "+Mario", "+Michael", "+Mike", "+Nguyen",
            "+Reed", "+Storm", "+adam", "+anika", "+announcer", "+antonio", "+aunty", "+belinda", "+benjamin",
            "+boris", "+caleb", "+david", "+ed", "+edward", "+grandma", "+grandpa", "+ian", "+iven", "+iven2",
            "+john", "+linda", "+marcelo", "+max", "+michel", "+miguel", "+norbert", "+pablo", "+paul",
            "+pedro", "+quincy", "+rob", "+robert", "+sandro", "+whisper")  # fmt: skip
HELD_OUT_VARIANTS = ("+m8", "+klatt3", "+klatt6", "+Henrique", "+gustave", "+steph", "+steph2", "+shelby",
                     "+travis", "+victor", "+zac", "+iven3", "+kaukovalta")  # fmt: skip
ENGLISH_VOICES = (
    "en-us",
    "en",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-us-nyc",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
)


def sentence(rng: np.random.Generator) -> tuple[str, str]:
    """A random sentence, and the language whose voice reads it; some are read with a foreign accent."""
    kind = rng.random()
    if kind < 0.2:
        language = str(rng.choice(list(OTHERS)))
        return str(rng.choice(OTHERS[language])), language
    if kind < 0.35:
        text = str(rng.choice(ENGLISH))
    else:
        parts = [str(rng.choice(words)) for words in (_OPEN, _WHO, _DID, _WHAT, _HOW)]
        text = f"{parts[0]}{parts[1]} {parts[2]} {parts[3]} {parts[4]}."
        text = text[0].upper() + text[1:]
    return text, str(rng.choice(list(OTHERS) if rng.random() < 0.1 else ENGLISH_VOICES))
