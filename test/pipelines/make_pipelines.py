"""Writes test/pipelines/references.json.gz: what the pipelines of Transformers 5.18 make of test/pipelines/cases.mjs.

    python test/pipelines/make_pipelines.py        in the root of the repository, after a build

Needs Node, PyTorch 2.13 and Transformers 5.18. The models are written by cases.mjs and computed in float64; numbers are rounded to
seven digits. Two tasks have no pipeline there: sentence-similarity is the cosine of means of the last hidden state, as
sentence-transformers makes it; question-answering follows the rules of Transformers 4 (question_answering.py) on the model's logits:

- windows of max_seq_len tokens with doc_stride of overlap, of which only the context is cut;
- logits of tokens outside the context, [CLS] excepted, are -10000; softmax over the window for starts and for ends;
- the score of no answer is the least of start x end of the windows' first tokens, which then count for nothing;
- candidates are start x end with start <= end < start + max_answer_len, the best top_k of each window;
- align_to_words moves both ends to the borders of their words; answers of all windows are sorted by score.
"""

import gzip
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModel, AutoModelForQuestionAnswering, AutoTokenizer, pipeline

HERE = pathlib.Path(__file__).parent


def snake(name):
    return re.sub("[A-Z]", lambda match: "_" + match[0].lower(), name)


def camel(name):
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def in_snake_case(value):
    if isinstance(value, dict):
        return {snake(key): in_snake_case(inner) for key, inner in value.items()}
    return value


def in_camel_case(value):
    if isinstance(value, dict):
        return {camel(key): in_camel_case(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_camel_case(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.7g}")
    return value


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def answer(model, tokenizer, question, context, top_k=1, doc_stride=None, max_answer_len=15, max_seq_len=None,
           max_question_len=64, handle_impossible_answer=False, align_to_words=True):
    max_seq_len = max_seq_len or min(tokenizer.model_max_length, 384)
    doc_stride = min(max_seq_len // 2, 128) if doc_stride is None else doc_stride
    asked = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if len(asked) > max_question_len:
        question = question[: asked[max_question_len - 1][1]]
    encoded = tokenizer(question, context, truncation="only_second", max_length=max_seq_len, stride=doc_stride,
                        return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=True)
    answers, null_score = [], 1e6
    for window, ids in enumerate(encoded["input_ids"]):
        with torch.no_grad():
            output = model(torch.tensor([ids]), token_type_ids=torch.tensor([encoded["token_type_ids"][window]]))
        in_context = np.array([part == 1 for part in encoded.sequence_ids(window)])
        counts = in_context | (np.array(ids) == tokenizer.cls_token_id)
        start = softmax(np.where(counts, output.start_logits[0].numpy(), -10000.0))
        end = softmax(np.where(counts, output.end_logits[0].numpy(), -10000.0))
        null_score = min(null_score, start[0] * end[0])
        start[~in_context] = end[~in_context] = 0.0
        candidates = np.tril(np.triu(np.outer(start, end)), max_answer_len - 1)
        for flat in np.argsort(-candidates, axis=None, kind="stable")[:top_k]:
            s, e = np.unravel_index(flat, candidates.shape)
            if candidates[s, e] == 0:
                continue
            offsets = encoded["offset_mapping"][window]
            first, last = offsets[s][0], offsets[e][1]
            if align_to_words:
                encoding = encoded[window]
                first = encoding.word_to_chars(encoding.token_to_word(int(s)), 1)[0]
                last = encoding.word_to_chars(encoding.token_to_word(int(e)), 1)[1]
            answers.append({"score": candidates[s, e], "start": first, "end": last, "answer": context[first:last]})
    if handle_impossible_answer:
        answers.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
    answers = sorted(answers, key=lambda each: -each["score"])[:top_k]
    return answers if top_k > 1 else answers[0]


def similarities(model, tokenizer, source_sentence, sentences):
    def embed(text):
        ids = torch.tensor([tokenizer(text, truncation=True)["input_ids"]])
        with torch.no_grad():
            return model(ids).last_hidden_state[0].mean(0)

    source = embed(source_sentence)
    return [torch.cosine_similarity(source, embed(text), dim=0).item() for text in sentences]


def run(folder, task, options, inputs):
    options = in_snake_case(options)
    if task == "question-answering":
        model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float64).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return [answer(model, tokenizer, **each, **options) for each in inputs]
    if task == "sentence-similarity":
        model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return [similarities(model, tokenizer, **in_snake_case(each)) for each in inputs]
    pipe = pipeline(task, model=folder, dtype=torch.float64, device="cpu")
    # one by one: in a batch the padding would be part of feature-extraction's output
    if options.get("is_split_into_words"):
        return [pipe([words], **options)[0] for words in inputs]
    outputs = [pipe(in_snake_case(each), **options) for each in inputs]
    if task == "text-classification" and "top_k" not in options:
        outputs = [output[0] if isinstance(output, list) else output for output in outputs]
    return outputs


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["node", HERE / "cases.mjs", folder], check=True)
        cases = json.loads((pathlib.Path(folder) / "cases.json").read_text())
        references = []
        for task, model, options, inputs in cases:
            print(task, model, options, len(inputs), file=sys.stderr)
            references.append(in_camel_case(run(str(pathlib.Path(folder) / model), task, options, inputs)))
    text = json.dumps(references, ensure_ascii=False, separators=(",", ":"))
    (HERE / "references.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


main()
