"""Writes tokenizer-trainer.json: vocabularies that the Rust library `tokenizers` learns, and how well they compress.

    python test/data/tokenizer-trainer.py $BERTKIT_REFERENCE_DIR/data test/data/tokenizer-trainer.json

Needs tokenizers 0.23.3. In its trainer the iteration order of a hash table decides the ids of the characters inside of words, and these
decide between pairs that are equally frequent; it decides as well which of equally frequent characters an alphabet keeps. Here all
characters are given as special tokens, in the order of bertkit, and no further alphabet: their ids are then known and chance has
nothing left to decide.
"""

import collections
import gzip
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def new_tokenizer(options):
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(
        clean_text=options.get("cleanText", True),
        handle_chinese_chars=options.get("tokenizeChineseChars", True),
        strip_accents=options.get("stripAccents"),
        lowercase=options.get("doLowerCase", True),
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def alphabet(tokenizer, texts, limit, initial):
    """Characters, and those of them inside of words with their prefix; both in the order of code points."""
    counts = collections.Counter()
    inside = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            counts.update(word)
            inside.update(word[1:])
    for character in initial:
        counts[character] = sys.maxsize
    kept = sorted(sorted(counts), key=lambda character: -counts[character])[:limit]
    return sorted(kept) + ["##" + character for character in sorted(kept) if character in inside]


def train(texts, options):
    tokenizer = new_tokenizer(options)
    special = options.get("specialTokens", SPECIAL)
    first = alphabet(tokenizer, texts, options.get("limitAlphabet", 1000), options.get("initialAlphabet", []))
    trainer = WordPieceTrainer(
        vocab_size=options.get("vocabSize", 30000),
        min_frequency=options.get("minFrequency", 0),
        limit_alphabet=0,
        special_tokens=special + first,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def vocabulary(tokenizer):
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.get)


ENGLISH = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness,
it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness,
it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing before us,
we were all going direct to Heaven, we were all going direct the other way - in short, the period was so far like the present period,
that some of its noisiest authorities insisted on its being received, for good or for evil, in the superlative degree of comparison only."""

LANGUAGES = [
    "Über den Wölken muß die Freiheit wohl grenzenlos sein; Übermut tut selten gut. STRASSE, Straße, straße.",
    "İstanbul'da ılık bir İlkbahar günü; Iğdır'dan ISPARTA'ya ılgıt ılgıt.",
    "Ὁ μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος οὐλομένην· ΣΊΣΥΦΟΣ σίσυφος.",
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. Ёлка, ёлки, йод.",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ガギグゲゴ ｶﾞｷﾞｸﾞ",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. كُلُّ النَّاسِ",
    "e\u0301te\u0301 \u00e9t\u00e9 a\u0323\u0302b \u1ead \u1ea5\u0323 naïve na\u0308ive cafe\u0301s caf\u00e9s",
    "\U0001f600\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U00010400\U00010428 \U00020000\U00020001 \U0001d518\U0001d51e\U0001d51e",
    "tab\there\u00a0no\u2003em\u2028line\u0000nul\u0007bell\u00adsoft\ufeffbom\u200bzero\u000bvt",
    "[MASK] [CLS]x[SEP] ##ing ## # <unk> don't can't x.y.z 3.1415 1,000,000 a_b a-b",
]


def syllables(seed, alphabet, words, longest):
    """Words in which pairs overlap, come up again, and are equally frequent."""
    numbers = random.Random(seed)
    return [
        " ".join("".join(numbers.choice(alphabet) for _ in range(numbers.randint(1, longest))) for _ in range(20))
        for _ in range(words // 20)
    ]


def cases():
    yield "English", [ENGLISH], {"vocabSize": 150}
    yield "English until nothing is left to merge", [ENGLISH], {}
    yield "English with case", [ENGLISH], {"vocabSize": 200, "doLowerCase": False}
    yield "a least frequency", [ENGLISH], {"minFrequency": 3}
    yield "no room for a merge", [ENGLISH], {"vocabSize": 50}
    yield "a small alphabet", [ENGLISH], {"vocabSize": 120, "limitAlphabet": 15}
    yield "characters that must be there", [ENGLISH], {"vocabSize": 120, "limitAlphabet": 15, "initialAlphabet": ["z", "ß", "字", "q"]}
    yield "special tokens of one's own", [ENGLISH], {
        "vocabSize": 150,
        "specialTokens": ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "x"],
    }
    yield "many languages", LANGUAGES, {"vocabSize": 700}
    yield "many languages until nothing is left to merge", LANGUAGES, {}
    yield "many languages with case", LANGUAGES, {"vocabSize": 700, "doLowerCase": False}
    yield "many languages with case, without accents", LANGUAGES, {"vocabSize": 700, "doLowerCase": False, "stripAccents": True}
    yield "many languages with accents", LANGUAGES, {"vocabSize": 700, "stripAccents": False}
    yield "many languages, ideographs in words", LANGUAGES, {"vocabSize": 700, "tokenizeChineseChars": False}
    yield "many languages, not cleaned", LANGUAGES, {"vocabSize": 700, "cleanText": False}
    yield "many languages, a small alphabet", LANGUAGES, {"vocabSize": 400, "limitAlphabet": 60}
    yield "two letters", syllables(1, "ab", 200, 12), {}
    yield "one letter", syllables(2, "a", 200, 40), {}
    yield "four letters", syllables(3, "abcd", 400, 9), {"vocabSize": 900}
    yield "uneven letters", syllables(4, "aaaaabbbc", 400, 14), {"vocabSize": 1000}


def read_lines(file):
    content = file.read_bytes()
    return (gzip.decompress(content) if file.suffix == ".gz" else content).decode().split("\n")


CORPORA = {
    "wikitext2": (["wikitext2/wiki.test.raw"], "wikitext2/valid.txt", 1000, (2000, 8000, 30000)),
    "zh_classics": (["zh_classics/sanguo_yanyi.txt.gz", "zh_classics/xiyouji.txt.gz"], "zh_classics/shuihuzhuan.txt.gz", 6000, (2000, 8000)),
    "mixed": (
        ["wikitext2/valid.txt", "banking77/test.csv", "cmrc2018_zh/cmrc2018_dev.json.gz"],
        "cmrc2018_zh/cmrc2018_trial.json",
        4000,
        (2000, 8000, 30000),
    ),
}


def compression(data):
    """Tokens of the texts that a vocabulary was learned from, and of others; from the trainer as it is, chance included."""
    for name, (files, held_out, characters, sizes) in CORPORA.items():
        texts = [line for file in files for line in read_lines(data / file)]
        others = read_lines(data / held_out)
        for size in sizes:
            limit = 1000 if size == 2000 else characters
            tokenizer = new_tokenizer({})
            trainer = WordPieceTrainer(
                vocab_size=size, limit_alphabet=limit, special_tokens=SPECIAL, show_progress=False
            )
            tokenizer.train_from_iterator(texts, trainer)
            yield {
                "corpus": name,
                "files": files,
                "heldOut": held_out,
                "options": {"vocabSize": size, "limitAlphabet": limit},
                "vocabSize": tokenizer.get_vocab_size(),
                "tokens": count_tokens(tokenizer, texts),
                "heldOutTokens": count_tokens(tokenizer, others),
            }


def count_tokens(tokenizer, texts):
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))


def main(data, output):
    reference = {
        "vocabularies": [
            {"name": name, "texts": texts, "options": options, "vocabulary": vocabulary(train(texts, options))}
            for name, texts, options in cases()
        ],
        "compression": list(compression(pathlib.Path(data))),
    }
    pathlib.Path(output).write_text(json.dumps(reference, ensure_ascii=False, separators=(",", ":")) + "\n")


main(*sys.argv[1:])
