"""Writes features.json: what Transformers' example scripts make of a few texts, and the vocabulary that they need.

    python make_features.py path/to/bert-base-multilingual-cased/vocab.txt

The functions follow run_ner.py, run_qa.py and run_swag.py of Transformers 5.18 (examples/pytorch). Offsets and answer starts count code
points. The only change: run_qa.py runs past the end of the context where the answer begins with its last token; that answer is the last
token here, and the window is marked "corrected".
"""
import json
import os
import sys

from transformers import BertTokenizerFast

SENTENCES = [
    (["The", "unaffordable", "Schrödinger", "museum", ",", "Kyiv", "."], [0, 0, 1, 2, 0, 3, 0]),
    (["control", "\u0000", "", "\u200d\u200b", "characters", "\u0007x", "vanish"], [1, 2, 3, 4, 5, 6, 7]),
    (["New York", "can't", "\U0001f600", "\U0001f468\u200d\U0001f469", "[SEP]", "naïve"], [1, 2, 3, 4, 5, 6]),
    (["中", "华", "人民", "共和国", "，", "e\u0301te\u0301"], [5, 6, 7, 8, 0, 9]),
    ([], []),
    (["\u0000"], [1]),
    (["counterrevolutionaries", "misunderstanding", "electroencephalography"] * 4, list(range(12))),
]
TOKEN_LENGTHS = [4, 9, 64]

PARAGRAPH = (
    "The lighthouse of Årdal \U0001f5fc was built in 1893 by Ingrid Løkken, who had studied engineering in Zürich. "
    "It burned for sixty-one years; then a storm \U0001f30a took the lamp, and nobody paid for another one. "
    "Today the tower holds a library of 4,200 books about weather, fish and fog\u2014most of them unread."
)
CHINESE = "灯塔\U0001f5fc建于一八九三年，由挪威工程师设计。六十一年后，一场风暴卷走了灯，没有人再付钱。如今塔里有四千二百本书。"
QUESTIONS = [
    ("Who built the lighthouse?", PARAGRAPH, "Ingrid Løkken"),
    ("When was it built?", PARAGRAPH, "1893"),
    ("What does it look like?", PARAGRAPH, None),
    ("Are they read?", PARAGRAPH, "unread"),
    ("Are they read, and is there a full stop?", PARAGRAPH, "."),
    ("How many books?", PARAGRAPH, "4,200 books about weather, fish and fog\u2014most"),
    ("How?", PARAGRAPH, "storm \U0001f30a took"),
    ("Part of a word?", PARAGRAPH, "house"),
    ("Where does it begin?", PARAGRAPH, "The"),
    ("White space", PARAGRAPH, " burned "),
    ("灯塔建于哪一年？", CHINESE, "一八九三年"),
    ("有多少本书？", CHINESE, "四千二百本书"),
    ("最后？", CHINESE, "。"),
    ("符号", CHINESE, "\U0001f5fc"),
    ("", "Short.", "Short"),
    ("Only spaces?", " \u0000 ", None),
]
QUESTION_OPTIONS = [(40, 10), (32, 0), (64, 40), (384, 128)]

CHOICES = [
    ("A man holds a lamp.", "He", ["walks up the tower.", "eats fish.", "\U0001f600", ""], 1),
    ("A long context that has to be cut since the choices are short, is it not? " * 3, "It", ["burned.", "did not burn."], 0),
    ("灯塔", None, ["建于一八九三年", "没有灯"], 1),
    ("Short", None, ["A long choice that has to be cut since the context is short, is it not? " * 3, "no"], None),
]
CHOICE_LENGTH = 24


def align(tokenizer, words, tags, max_length):
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
    labels, previous = [], None
    for word in encoded.word_ids():
        labels.append(-100 if word is None or word == previous else tags[word])
        previous = word
    return {"max_length": max_length, "words": words, "tags": tags, "input_ids": encoded["input_ids"], "labels": labels}


def windows(tokenizer, question, context, answer, max_length, stride):
    encoded = tokenizer(
        question.lstrip(), context, truncation="only_second", max_length=max_length, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )
    made = []
    for i, offsets in enumerate(encoded["offset_mapping"]):
        ids, sequences = encoded["input_ids"][i], encoded.sequence_ids(i)
        shown = [unit for k, offset in enumerate(offsets) for unit in offset if sequences[k] == 1]
        types = encoded["token_type_ids"][i]
        assert types == sorted(types)
        window = {"input_ids": ids, "first_type": types.count(0), "offsets": shown}
        made.append(window)
        start, end = 0, 0  # [CLS]
        context_tokens = [k for k, sequence in enumerate(sequences) if sequence == 1]
        if answer is not None and context_tokens:
            start_char = context.rindex(answer)
            end_char = start_char + len(answer)
            first, last = context_tokens[0], context_tokens[-1]
            if offsets[first][0] <= start_char and offsets[last][1] >= end_char:
                while first < len(offsets) and offsets[first][0] <= start_char:
                    first += 1
                start = first - 1
                end = last
                while offsets[end][1] >= end_char:
                    end -= 1
                end += 1
                if start not in context_tokens:
                    start, window["corrected"] = last, True
        window["start"], window["end"] = start, end
    start = None if answer is None else context.rindex(answer)
    return {"question": question, "context": context, "answer": answer, "answer_start": start, "max_length": max_length,
            "stride": stride, "windows": made}


def choices(tokenizer, context, question, endings, label):
    second = [ending if question is None else f"{question} {ending}" for ending in endings]
    encoded = tokenizer([context] * len(endings), second, truncation=True, max_length=CHOICE_LENGTH)
    return {"context": context, "question": question, "choices": endings, "label": label, "max_length": CHOICE_LENGTH,
            "input_ids": encoded["input_ids"], "token_type_ids": encoded["token_type_ids"]}


def small_vocabulary(full):
    """The special tokens, and every token that some text above is made of."""
    tokens = open(full, encoding="utf-8").read().split("\n")
    tokenizer = load(tokens)
    texts = [word for words, _ in SENTENCES for word in words]
    texts += [text for question, context, _ in QUESTIONS for text in (question, context)]
    texts += [text for context, question, endings, _ in CHOICES for text in (context, question or "", *endings)]
    used = {token for text in texts for token in tokenizer.tokenize(text)}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return special + sorted(used - set(special), key=tokens.index)


def load(tokens):
    return BertTokenizerFast(vocab={token: i for i, token in enumerate(tokens)}, do_lower_case=False)


def main():
    vocabulary = small_vocabulary(sys.argv[1])
    tokenizer = load(vocabulary)
    result = {
        "vocabulary": vocabulary,
        "tokens": [align(tokenizer, words, tags, n) for words, tags in SENTENCES for n in TOKEN_LENGTHS],
        "questions": [windows(tokenizer, *case, *options) for case in QUESTIONS for options in QUESTION_OPTIONS],
        "choices": [choices(tokenizer, *case) for case in CHOICES],
    }
    with open(os.path.join(os.path.dirname(__file__), "features.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")


main()
