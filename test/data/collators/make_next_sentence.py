"""Writes next-sentence.json: statistics of the pairs that Google's algorithm makes of a small corpus.

    python make_next_sentence.py

The algorithm is that of create_instances_from_document and truncate_seq_pair in create_pretraining_data.py
(github.com/google-research/bert), without masking. A statistic is the mean over epochs, with its standard error.
"""
import json
import os
import random
import statistics

MAX_LENGTH, SHORT_SEQ_PROB, EPOCHS = 64, 0.1, 2000


def corpus():
    """Every token is another number: document * 10000 + passage * 100 + its place. The test builds the same."""
    return [
        [[d * 10000 + p * 100 + i for i in range(3 + (31 * d + 17 * p) % 28)] for p in range(2 + 7 * d % 13)]
        for d in range(40)
    ]


def pairs_of(documents, index, rng):
    document, room = documents[index], MAX_LENGTH - 3
    target = rng.randint(2, room) if rng.random() < SHORT_SEQ_PROB else room
    chunk, i = [], 0
    while i < len(document):
        chunk.append(document[i])
        if i == len(document) - 1 or sum(map(len, chunk)) >= target:
            a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
            a = [token for segment in chunk[:a_end] for token in segment]
            is_random = len(chunk) == 1 or rng.random() < 0.5
            if is_random:
                other = index
                while other == index:
                    other = rng.randint(0, len(documents) - 1)
                b = []
                for segment in documents[other][rng.randint(0, len(documents[other]) - 1):]:
                    b.extend(segment)
                    if len(b) >= target - len(a):
                        break
                i -= len(chunk) - a_end
            else:
                b = [token for segment in chunk[a_end:] for token in segment]
            while len(a) + len(b) > room:
                longer = a if len(a) > len(b) else b
                longer.pop(0 if rng.random() < 0.5 else -1)
            yield a, b, int(is_random)
            chunk = []
        i += 1


def measure(pairs):
    mean = lambda values: sum(values) / len(values)
    return {
        "pairs": len(pairs),
        "random": mean([label for _, _, label in pairs]),
        "first": mean([len(a) for a, _, _ in pairs]),
        "following": mean([len(b) for _, b, label in pairs if label == 0]),
        "randomText": mean([len(b) for _, b, label in pairs if label == 1]),
        "full": mean([int(len(a) + len(b) == MAX_LENGTH - 3) for a, b, _ in pairs]),
        "firstCutInFront": mean([int(a[0] % 100 != 0) for a, _, _ in pairs]),
        "secondCutInFront": mean([int(b[0] % 100 != 0) for _, b, _ in pairs]),
    }


def main():
    documents, epochs = corpus(), []
    for epoch in range(EPOCHS):
        rng = random.Random(epoch)
        epochs.append(measure([pair for d in range(len(documents)) for pair in pairs_of(documents, d, rng)]))
    result = {}
    for name in epochs[0]:
        values = [each[name] for each in epochs]
        result[name] = {"mean": statistics.mean(values), "error": statistics.stdev(values) / EPOCHS**0.5}
    with open(os.path.join(os.path.dirname(__file__), "next-sentence.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=2)
        file.write("\n")


main()
