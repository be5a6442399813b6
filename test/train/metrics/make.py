"""Writes references.jsonl: what scikit-learn, SciPy, seqeval, SQuAD's scripts and NumPy make of random inputs, a case a line.

    python test/train/metrics/make.py test/train/metrics/references.jsonl

Needs scikit-learn 1.9, SciPy 1.17, seqeval 1.2.2 and Transformers 5.18 (for SQuAD 2.0's official script).
"""

import json
import math
import re
import string
import sys
import warnings
from collections import Counter

import numpy as np
import scipy.stats
import sklearn.metrics as sk
from seqeval.metrics import accuracy_score
from seqeval.metrics import sequence_labeling as seqeval
from transformers.data.metrics.squad_metrics import squad_evaluate

warnings.filterwarnings("ignore")
random = np.random.default_rng(6)


def rounded(*shape):
    """Numbers that JSON, float32 and float64 all hold exactly, and whose sums in float32 are exact too."""
    return np.round(random.normal(0, 3, shape) * 64) / 64


def pick(options, n, p=None):
    return [options[i] for i in random.choice(len(options), n, p=p)]


def number(value):
    value = float(value)
    return None if math.isnan(value) else value


def classes():
    for i in range(50):
        n = int(random.integers(1, 3 if i < 8 else 40))
        c = int(random.integers(1, 7))
        labels = random.integers(0, c, n)
        # classes that only one of the two has, and some skill
        predictions = np.where(random.random(n) < random.random(), labels, random.integers(0, c + 2, n))
        case = {"kind": "classes", "labels": labels.tolist(), "predictions": predictions.tolist()}
        case["accuracy"] = float(sk.accuracy_score(labels, predictions))
        case["matthews"] = float(sk.matthews_corrcoef(labels, predictions))
        for average in ("micro", "macro", "weighted"):
            scores = sk.precision_recall_fscore_support(labels, predictions, average=average, zero_division=0)
            case[average] = [float(score) for score in scores[:3]]
        binary = (labels > 0).astype(int), (predictions > 0).astype(int)
        scores = sk.precision_recall_fscore_support(*binary, average="binary", zero_division=0)
        case["binary"] = [float(score) for score in scores[:3]]
        yield case


def series():
    for i in range(50):
        n = int(random.integers(2, 30))
        y = rounded(n)
        x = [rounded(n), y + rounded(n), np.round(y), np.full(n, 0.1), y * 1e6 + 1e9][i % 5]
        pearson = scipy.stats.pearsonr(x, y)[0]
        spearman = scipy.stats.spearmanr(x, y)[0]
        case = {"kind": "series", "x": x.tolist(), "y": y.tolist()}
        case |= {"pearson": number(pearson), "spearman": number(spearman)}
        yield case | {"mse": float(sk.mean_squared_error(y, x))}


def columns():
    for i in range(50):
        n, c = int(random.integers(1, 20)), int(random.integers(1, 6))
        labels = (random.random((n, c)) < random.random()).astype(int)
        decisions = np.where(random.random((n, c)) < 0.7, labels, random.integers(0, 2, (n, c)))
        case = {"kind": "columns", "columns": c}
        case |= {"labels": labels.ravel().tolist(), "decisions": decisions.ravel().tolist()}
        # scikit-learn takes a single column for classes 0 and 1
        f1 = (
            [sk.f1_score(labels, decisions, average=average, zero_division=0) for average in ("micro", "macro")]
            if c > 1
            else [sk.f1_score(labels[:, 0], decisions[:, 0], zero_division=0)] * 2
        )
        yield case | {"f1": [float(score) for score in f1], "accuracy": float(sk.accuracy_score(labels, decisions))}


SCHEMES = {
    "BIO": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "BIOES": [f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC")] + ["O", "O"],
    "BMES": [f"{prefix}-{kind}" for prefix in "BMES" for kind in ("NAME", "ORG")] + ["O"],
    "no begin": ["O", "I-PER", "I-LOC", "I-MISC"],
    "hyphens": ["O", "B-geo-loc", "I-geo-loc", "B-geo", "I-geo", "I-geo-"],
    "letters": ["O", "B", "I", "E", "S"],
    "other separators": ["O", "B_PER", "I_PER", "BPER", "I:PER", "B-", "I-"],
    "words": ["O", "PER", "ORG", "LOC", "MISC", "P", "."],
    "mixed": ["O", "P", "I", "B", ".", "B-PER", "I-PER", "E-PER", "S-PER", "O-PER", ".-PER", "人名", "\U00020000X", "L-PER"],
}


def well_formed(n, kinds, bmes):
    tags = []
    while len(tags) < n:
        length = int(random.integers(0, 5))
        kind = pick(kinds, 1)[0]
        if length == 0:
            tags.append("O")
        elif bmes:
            tags += [f"S-{kind}"] if length == 1 else [f"B-{kind}"] + [f"M-{kind}"] * (length - 2) + [f"E-{kind}"]
        else:
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
    return tags[:n]


def spans():
    for scheme, tags in SCHEMES.items():
        for i in range(10):
            sentences = int(random.integers(1, 4))
            labels, predictions = [], []
            for _ in range(sentences):
                n = int(random.integers(0 if i > 2 else 1, 12))
                if scheme in ("BIO", "BMES") and i % 2:
                    kinds = sorted({tag[2:] for tag in tags if tag != "O"})
                    row = well_formed(n, kinds, scheme == "BMES")
                else:
                    row = pick(tags, n)
                kept = random.random(n) < (0, 0.6, 0.9)[i % 3]
                labels.append(row)
                predictions.append([tag if keep else other for tag, keep, other in zip(row, kept, pick(tags, n))])
            if sum(map(len, labels)) == 0:
                labels, predictions = [["O"]], [["O"]]
            yield span_case(scheme, labels, predictions)
    # tags of no scheme, whose spans depend on what was before, even on another sentence
    letters = [["P", "I"], ["O", "P", "I", "I"]]
    yield span_case("one letter", letters, [["O", "I"], ["P", "O", "P", "E"]])
    yield span_case("one letter", [["B-X", "O"], *letters], [["O", "B"], *letters])
    yield span_case("astral", [["\U00020000", "I"], ["\U00020000X", "X", "I-X"]], [["I", "I"], ["O", "O", "I-X"]])
    yield span_case("nothing", [["O", "O"], []], [["O", "O"], []])
    yield span_case("nothing predicted", [["O", "B-PER"]], [["O", "O"]])
    yield span_case("nothing labelled", [["O", "O"]], [["O", "B-PER"]])


def span_case(scheme, labels, predictions):
    def known(rows):
        return [["I" + tag[1:] if re.match(r"M(-|$)", tag) else tag for tag in row] for row in rows]

    case = {"kind": "spans", "scheme": scheme, "labels": labels, "predictions": predictions}
    case["entities"] = [list(map(list, seqeval.get_entities(known([row])[0]))) for row in labels]
    case["accuracy"] = accuracy_score(labels, predictions)
    true, guessed = known(labels), known(predictions)
    types = sorted({entity[0] for rows in (true, guessed) for entity in seqeval.get_entities(rows)})
    if types:
        micro = seqeval.precision_recall_fscore_support(true, guessed, average="micro")
        each = seqeval.precision_recall_fscore_support(true, guessed, average=None)
        case["micro"] = [float(score) for score in micro[:3]]
        case["types"] = [[name, *map(float, scores)] for name, *scores in zip(types, *each)]
    else:
        case |= {"micro": [0, 0, 0], "types": []}
    return case


# SQuAD 1.1's evaluate-v1.1.py
def normalize_answer(answer):
    answer = "".join(ch for ch in answer.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def word_f1(prediction, answer):
    prediction, answer = normalize_answer(prediction).split(), normalize_answer(answer).split()
    same = sum((Counter(prediction) & Counter(answer)).values())
    if same == 0:
        return 0
    precision, recall = same / len(prediction), same / len(answer)
    return 2 * precision * recall / (precision + recall)


WORDS = (
    ["the", "The", "a", "an", "A.", "U.S.", "cat", "Cat,", "dog", "theatre", "ananas", "été", "ña", "a-b", "1,000", "$5", "«a»"]
    + ["北京", "大学", "的 a", "İ", "ΣΑΣ", "\u00a0", "\u3000", "\x1c", "a\x1fb", "\u200b", "\ufeff", "x_the", "the²", "the\u0301", "–"]
)


class Question:
    def __init__(self, qas_id, answers):
        self.qas_id = qas_id
        self.answers = [{"text": answer} for answer in answers]


def squad():
    def phrase(low):
        return pick([" ", " ", "", "  "], 1)[0].join(pick(WORDS, int(random.integers(low, 6))))

    for i in range(50):
        questions = []
        for _ in range(int(random.integers(1, 6))):
            answers = [phrase(1) for _ in range(int(random.integers(1, 4)))]
            prediction = pick([phrase(0), pick(answers, 1)[0], pick(answers, 1)[0] + " the end", ""], 1)[0]
            questions.append({"prediction": prediction, "answers": answers})
        exact = [max(normalize_answer(q["prediction"]) == normalize_answer(a) for a in q["answers"]) for q in questions]
        f1 = [max(word_f1(q["prediction"], a) for a in q["answers"]) for q in questions]
        n = len(questions)
        case = {"kind": "squad", "questions": questions}
        case["v1"] = {"exact_match": 100 * sum(exact) / n, "f1": 100 * sum(f1) / n}
        # some are asked for nothing in version 2
        impossible = random.random(n) < (0, 0.5, 1)[i % 3]
        case["impossible"] = impossible.tolist()
        examples = [Question(str(k), [] if impossible[k] else q["answers"]) for k, q in enumerate(questions)]
        scores = dict(squad_evaluate(examples, {str(k): q["prediction"] for k, q in enumerate(questions)}))
        case["v2"] = {"exact_match": scores["exact"], "f1": scores["f1"]}
        case["v2"] |= {k: v for k, v in scores.items() if re.fullmatch("(HasAns|NoAns)_(exact|f1)", k)}
        yield case


# Transformers' examples/pytorch/question-answering/utils_qa.py, postprocess_qa_predictions, for one question. Its argsort leaves the
# order of equal logits open; here the first position comes first.
def postprocess(windows, context, version_2, n_best_size, max_answer_length, threshold):
    least_null, prelim = None, []
    for start_logits, end_logits, offsets in windows:
        null = start_logits[0] + end_logits[0]
        if least_null is None or least_null["score"] > null:
            least_null = {"offsets": (0, 0), "score": null}
        start_indexes = np.argsort(-start_logits, kind="stable")[:n_best_size].tolist()
        end_indexes = np.argsort(-end_logits, kind="stable")[:n_best_size].tolist()
        for start in start_indexes:
            for end in end_indexes:
                if offsets[start] is None or offsets[end] is None:
                    continue
                if end < start or end - start + 1 > max_answer_length:
                    continue
                score = start_logits[start] + end_logits[end]
                prelim.append({"offsets": (offsets[start][0], offsets[end][1]), "score": score})
    if version_2:
        prelim.append(least_null)
    predictions = sorted(prelim, key=lambda x: x["score"], reverse=True)[:n_best_size]
    if version_2 and not any(p["offsets"] == (0, 0) for p in predictions):
        predictions.append(least_null)
    spans = [p for p in predictions if p["offsets"] != (0, 0)]
    if not spans:
        return None
    scores = np.array([p["score"] for p in predictions])
    exp_scores = np.exp(scores - np.max(scores))
    for p, probability in zip(predictions, exp_scores / exp_scores.sum()):
        p["probability"] = probability
    best = spans[0]
    if version_2 and least_null["score"] - best["score"] > threshold:
        best = least_null
    start, end = best["offsets"]
    answer = {"text": context[start:end], "start": start, "end": end, "score": float(best["probability"])}
    return answer, float(least_null["score"])


def answers():
    context = " ".join(pick(["ab", "cde", "f", "ghij", "k."], 40))
    words = [match.span() for match in re.finditer(r"\S+", context)]
    for i in range(72):
        windows = []
        size, stride = int(random.integers(3, 30)), int(random.integers(1, 4))
        question = int(random.integers(1, 5))
        null_is_likely = random.random() < 0.5
        for first in range(0, len(words), max(1, size - stride)):
            inside = words[first : first + size]
            # [CLS] question [SEP] context [SEP]
            offsets = [None] * (question + 2) + [list(word) for word in inside] + [None]
            logits = rounded(2, len(offsets))
            if i % 5 == 0:
                logits = np.round(logits / 3)  # ties
            if null_is_likely:
                logits[:, 0] += 8
            windows.append((logits[0], logits[1], offsets))
            if first + size >= len(words) or len(windows) > i % 4:
                break
        options = {
            "n_best_size": (20, 5, 3)[i % 3],
            "max_answer_length": (30, 4)[i % 2],
            "version_2": i % 4 > 1,
            "threshold": (0.0, -2.0, 2.5)[i // 4 % 3],
        }
        found = postprocess(windows, context, **options)
        if found is None:
            continue
        answer, null_score = found
        if options["version_2"]:
            answer["nullScore"] = null_score
        case = {"kind": "answer", "context": context, "options": options, "answer": answer}
        yield case | {"windows": [[start.tolist(), end.tolist(), offsets] for start, end, offsets in windows]}


def language():
    for _ in range(50):
        vocabulary = int(random.integers(2, 9))
        batches, right, loss_sums, counts = [], [0, 0], [0, 0], [0, 0]
        for _ in range(int(random.integers(1, 4))):
            lengths = random.integers(1, 7, int(random.integers(1, 4)))
            tokens = int(lengths.sum())
            logits = rounded(tokens, vocabulary)
            labels = np.where(random.random(tokens) < 0.6, random.integers(0, vocabulary, tokens), -100)
            labels[0 if tokens == 1 else 1] = 0
            ends = np.cumsum(lengths)
            shifted = np.append(labels[1:], -100)
            shifted[ends - 1] = -100
            log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            losses = []
            for which, targets in enumerate((labels, shifted)):
                rows = np.flatnonzero(targets != -100)
                loss = -log_probabilities[rows, targets[rows]].sum()
                loss_sums[which] += loss
                counts[which] += len(rows)
                losses.append(float(loss / max(1, len(rows))))
                hits = int((logits[rows].argmax(-1) == targets[rows]).sum())
                right[which] += hits
            rows = np.split(labels, ends[:-1])
            batch = {"logits": logits.tolist(), "labels": [row.tolist() for row in rows], "shifted": shifted.tolist()}
            batches.append(batch | {"losses": losses})
        if counts[1] == 0:
            continue
        case = {"kind": "language", "batches": batches}
        for which, kind in enumerate(("masked", "causal")):
            case[kind] = [float(np.exp(loss_sums[which] / counts[which])), right[which] / counts[which]]
        yield case


with open(sys.argv[1], "w", encoding="utf-8") as file:
    for cases in (classes, series, columns, spans, squad, answers, language):
        for case in cases():
            file.write(json.dumps(case, separators=(",", ":")) + "\n")
