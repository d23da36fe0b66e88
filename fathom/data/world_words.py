"""The words of which the built-in world makes its films: what a title says about genre and mood is in them."""

GENRES: dict[str, tuple[str, ...]] = {
    "Western": ("Saddle", "Canyon", "Stagecoach", "Prairie", "Outlaw", "Sheriff", "Mesa"),
    "Comedy": ("Butler", "Wedding", "Umbrella", "Landlady", "Parrot", "Holiday", "Waiter"),
    "Drama": ("Daughter", "Kitchen", "Orchard", "Winter", "Promise", "Letter", "Brother"),
    "Thriller": ("Witness", "Passenger", "Alibi", "Courier", "Signal", "Ransom", "Double"),
    "Horror": ("Cellar", "Mirror", "Crypt", "Doll", "Scarecrow", "Attic", "Well"),
    "Romance": ("Waltz", "Stranger", "Balcony", "Violin", "Garden", "Kiss", "Postcard"),
    "Adventure": ("Expedition", "Compass", "River", "Treasure", "Summit", "Caravan", "Island"),
    "Mystery": ("Detective", "Manor", "Cipher", "Portrait", "Clock", "Archive", "Key"),
    "War": ("Trench", "Convoy", "Battalion", "Bridge", "Siege", "Radio", "Deserter"),
    "Musical": ("Chorus", "Piano", "Cabaret", "Trumpet", "Ballroom", "Rehearsal", "Song"),
    "Fantasy": ("Dragon", "Lantern", "Kingdom", "Witch", "Unicorn", "Crown", "Spell"),
    "Science Fiction": ("Orbit", "Android", "Comet", "Colony", "Satellite", "Machine", "Galaxy"),
}
"""Genre -> the nouns of its titles."""

MOODS: dict[str, tuple[str, ...]] = {
    "bleak": ("Frozen", "Empty", "Grey", "Barren", "Lost", "Silent"),
    "tender": ("Beloved", "Quiet", "Loving", "Fragile", "Faithful", "Velvet"),
    "playful": ("Dancing", "Giddy", "Merry", "Crooked", "Painted", "Tumbling"),
    "eerie": ("Haunted", "Pale", "Whispering", "Hollow", "Moonlit", "Vanishing"),
    "hopeful": ("Rising", "Golden", "Open", "Shining", "Newborn", "Promised"),
    "tense": ("Ticking", "Hunted", "Wired", "Narrow", "Breathless", "Hidden"),
    "dreamlike": ("Floating", "Sleeping", "Glass", "Endless", "Misty", "Veiled"),
    "bitter": ("Broken", "Poisoned", "Rusted", "Forsaken", "Salted", "Burnt"),
    "gentle": ("Little", "Sunlit", "Kindly", "Drowsy", "Mild", "Cosy"),
    "furious": ("Raging", "Scarlet", "Thundering", "Savage", "Iron", "Blazing"),
}
"""Mood -> the adjectives of its titles."""

PLACES = (
    *("Arkley", "Belmora", "Calder", "Dunmere", "Elvas", "Farrow", "Glenholm", "Harrowgate", "Isola", "Jasper", "Kestrel Bay"),
    *("Lindow", "Marrow Hill", "Norwick", "Ostend", "Pellworm", "Quarry Lane", "Ravenna", "Saltmarsh", "Tarn", "Umber", "Valdez"),
    *("Wexcombe", "Yarrow", "Zell", "Ashby", "Brine", "Corvo", "Dover Street", "Eden Falls", "Fenwick", "Gravesend", "Holloway"),
    *("Inverness", "Juno Beach", "Kiruna", "Lorne", "Mirador", "Nightingale Row", "Oxbow"),
)

FIRST_NAMES = (
    *("Ada", "Bruno", "Carla", "Dario", "Edith", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Kaito", "Lena", "Marco", "Nadia", "Oscar"),
    *("Petra", "Quentin", "Rosa", "Stefan", "Tilda", "Umar", "Vera", "Walter", "Xenia", "Yusuf", "Zoe", "Alma", "Boris", "Celia", "Dmitri"),
    *("Elsa", "Farid", "Gloria", "Henrik", "Irma", "Jules", "Katya", "Luca", "Mina", "Nils", "Olga", "Pavel", "Rita", "Samuel", "Tessa"),
    *("Ulla", "Viktor", "Wanda", "Yara", "Zoltan"),
)
LAST_NAMES = (
    *("Abbott", "Bergstrom", "Castellan", "Dahl", "Eastman", "Ferrante", "Grieg", "Hallam", "Ivers", "Jarrow", "Kessler", "Lindqvist"),
    *("Marchetti", "Nakata", "Okafor", "Pemberton", "Quayle", "Rosetti", "Sandoval", "Thorne", "Ullman", "Varga", "Whitlock", "Xavier"),
    *("Yamada", "Zielinski", "Ansel", "Brandt", "Corrigan", "Delacroix", "Emsworth", "Falk", "Gaspard", "Hollis", "Ibarra", "Jansen"),
    *(
        "Kovacs",
        "Larkin",
        "Moreau",
        "Novak",
        "Ortega",
        "Price",
        "Reinholt",
        "Sorel",
        "Tanaka",
        "Ustinov",
        "Vogel",
        "Weller",
        "Yates",
        "Zorn",
    ),
)

HEROES = (
    *(
        "a retired clockmaker",
        "a pair of estranged sisters",
        "a young teacher",
        "a disgraced officer",
        "an orphaned boy",
        "a travelling singer",
    ),
    *("a widowed farmer", "a tired journalist", "a trio of old friends", "a shy librarian", "a runaway heiress", "a stubborn doctor"),
)

PLOTS: dict[str, tuple[str, ...]] = {
    "Western": ("defends a frontier town", "rides after a stolen herd"),
    "Comedy": ("stumbles through a ruined wedding", "swaps places with a duke"),
    "Drama": ("faces an old family debt", "comes home after twenty years"),
    "Thriller": ("runs from a crime seen by chance", "carries a parcel nobody should have"),
    "Horror": ("moves into a house that listens", "opens a grave better left shut"),
    "Romance": ("falls for a stranger on a night train", "answers a letter meant for somebody else"),
    "Adventure": ("crosses an unmapped river", "follows a dead explorer's compass"),
    "Mystery": ("looks into a death behind a locked door", "deciphers the diary of a missing guest"),
    "War": ("holds a bridge until dawn", "hides a deserter from both armies"),
    "Musical": ("saves a small theatre with one last show", "sings for a rival's orchestra"),
    "Fantasy": ("bargains with a dragon for a crown", "finds a door into a winter kingdom"),
    "Science Fiction": ("wakes alone on a drifting colony ship", "teaches a machine to lie"),
}
"""Genre -> what the hero of a description does."""

NUMERALS = ("", " II", " III", " IV")
"""What follows a title in the parts of its series."""
