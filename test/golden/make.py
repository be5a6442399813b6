"""Writes test/golden/cases: what PyTorch and Transformers make of every class of BERT, small enough to be committed.

    python test/golden/make.py test/golden/cases

Needs PyTorch 2.13 and Transformers 5.18. A case is a folder as save_pretrained writes it, in float32, with two files beside it:
inputs.json, what the model was given, and expected.safetensors, what it gave in float64 from those float32 weights: outputs, hidden
states, attentions, loss, the gradient of every parameter; with `smoothed.` before them, loss and gradients under label smoothing; of
the training case, loss, norm and learning rate of each step and the last weights. Dropout is off.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, get_scheduler
from transformers.trainer_pt_utils import LabelSmoother

VOCAB = 53
LENGTH = 8
SMOOTHING = 0.1
SIZE = {
    "vocab_size": VOCAB,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
CROSSED = {"is_decoder": True, "add_cross_attention": True}

random = torch.Generator().manual_seed(20)


def integers(low, high, *shape):
    return torch.randint(low, high, shape, generator=random)


def normals(*shape):
    # rounded, so that the text of inputs.json says exactly what was computed with
    return (torch.randn(*shape, generator=random) * 64).round() / 64


def tokens(*batch, masked=True):
    """ids, types and a mask that leaves each row a length of its own."""
    shape = (*batch, LENGTH)
    lengths = integers(LENGTH // 2, LENGTH + 1, *batch) if masked else torch.full(batch, LENGTH)
    mask = (torch.arange(LENGTH) < lengths[..., None]).long()
    types = (torch.arange(LENGTH) >= LENGTH // 2).long().expand(shape)
    return {"input_ids": integers(5, VOCAB, *shape) * mask, "attention_mask": mask, "token_type_ids": types}


def some(labels, keep=0.5):
    """Labels of which the rest is left out."""
    return torch.where(torch.rand(labels.shape, generator=random) < keep, labels, -100)


def cases():
    """name, class, fields of the config, inputs, labels, whether the Trainer's label smoothing applies"""
    model = transformers.BertModel
    yield "model", model, {}, tokens(3), {}, False
    yield "model_relu", model, {"hidden_act": "relu", "hidden_size": 10, "num_attention_heads": 2, "layer_norm_eps": 1e-6}, tokens(2, masked=False), {}, False
    yield "model_decoder", model, {"is_decoder": True, "hidden_act": "gelu_new"}, tokens(3), {}, False
    pair = {"labels": some(integers(0, VOCAB, 3, LENGTH)), "next_sentence_label": integers(0, 2, 3)}
    yield "pretraining", transformers.BertForPreTraining, {}, tokens(3), pair, False
    masked_lm = transformers.BertForMaskedLM
    yield "masked_lm", masked_lm, {}, tokens(3), {"labels": some(integers(0, VOCAB, 3, LENGTH))}, True
    untied = {"tie_word_embeddings": False, "hidden_act": "silu", "hidden_size": 14, "num_attention_heads": 7}
    yield "masked_lm_untied", masked_lm, untied, tokens(2), {"labels": some(integers(0, VOCAB, 2, LENGTH))}, False
    inputs = tokens(3, masked=False)
    yield "lm_head", transformers.BertLMHeadModel, {"is_decoder": True}, inputs, {"labels": some(inputs["input_ids"], 0.8)}, True
    inputs = tokens(3)
    encoder = {"encoder_hidden_states": normals(3, 5, 12), "encoder_attention_mask": torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])}
    words = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    yield "lm_head_cross_attention", transformers.BertLMHeadModel, CROSSED, {**inputs, **encoder}, {"labels": words}, False
    yield "next_sentence", transformers.BertForNextSentencePrediction, {}, tokens(3), {"labels": integers(0, 2, 3)}, True
    classifier = transformers.BertForSequenceClassification
    yield "classification", classifier, {"num_labels": 4}, tokens(3), {"labels": integers(0, 4, 3)}, True
    yield "regression", classifier, {"num_labels": 1}, tokens(3), {"labels": normals(3)}, False
    columns = {"num_labels": 3, "problem_type": "regression"}
    yield "regression_columns", classifier, columns, tokens(2), {"labels": normals(2, 3)}, False
    several = {"num_labels": 3, "problem_type": "multi_label_classification"}
    yield "several_labels", classifier, several, tokens(3), {"labels": integers(0, 2, 3, 3).double()}, False
    yield "multiple_choice", transformers.BertForMultipleChoice, {}, tokens(2, 3), {"labels": integers(0, 3, 2)}, True
    yield "token_classification", transformers.BertForTokenClassification, {"num_labels": 5}, tokens(3), {"labels": some(integers(0, 5, 3, LENGTH))}, True
    # a position beyond the end is left out, a negative one is the first token
    spans = {"start_positions": torch.tensor([2, LENGTH + 1, -3]), "end_positions": torch.tensor([40, 5, LENGTH - 1])}
    yield "question_answering", transformers.BertForQuestionAnswering, {}, tokens(3), spans, False


def build(cls, fields):
    """A model in float64 whose weights are float32 numbers, none of them at a value that hides a mistake."""
    model = cls._from_config(BertConfig(**{**SIZE, **fields}), attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=random)
            parameter.copy_(1 + 0.2 * noise if name.endswith("LayerNorm.weight") else 0.15 * noise)
    return model.double()


def real(values):
    return {name: value.double() if value.is_floating_point() else value for name, value in values.items()}


def gradients(model, prefix=""):
    """Of every parameter that the loss depends on."""
    found = {f"{prefix}grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def write(folder, model, inputs, expected, **about):
    model.float().save_pretrained(folder)
    about = {"class": type(model).__name__, **about, "inputs": {name: value.tolist() for name, value in inputs.items()}}
    (folder / "inputs.json").write_text(json.dumps(about) + "\n")
    contiguous = {name: value.detach().float().contiguous().clone() for name, value in expected.items()}
    save_file(contiguous, folder / "expected.safetensors")
    (folder / "generation_config.json").unlink(missing_ok=True)


def head_case(root, name, cls, fields, inputs, labels, smooth):
    model = build(cls, fields)
    given = real({**inputs, **labels})
    off = {"use_cache": False} if model.config.is_decoder else {}
    out = model(**given, **off, output_hidden_states=True, output_attentions=True)
    expected = {}
    for key, value in out.items():
        if isinstance(value, tuple):
            expected.update({f"{key}.{i}": layer for i, layer in enumerate(value)})
        elif value is not None:
            expected[key] = value
    if labels:
        out.loss.backward()
        expected.update(gradients(model))
    about = {}
    if smooth:
        # as Trainer does it: the model computes scores, the smoother the loss
        targets = given.pop("labels")
        causal = cls is transformers.BertLMHeadModel
        loss = LabelSmoother(epsilon=SMOOTHING)(model(**given, **off), targets, shift_labels=causal)
        loss.backward()
        expected["smoothed.loss"] = loss
        expected.update(gradients(model, "smoothed."))
        about = {"labelSmoothing": SMOOTHING}
    write(root / name, model, {**inputs, **labels}, expected, **about)


def training_case(root, steps=6, accumulation=2):
    """What Trainer does in an update: micro-batches, clipping, AdamW without decay of biases and LayerNorm, a schedule."""
    model = build(transformers.BertForSequenceClassification, {"num_labels": 3})
    start = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [{**tokens(3), "labels": integers(0, 3, 3)} for _ in range(steps * accumulation)]
    named = list(model.named_parameters())
    undecayed = [p for name, p in named if name.endswith("bias") or "LayerNorm" in name]
    decayed = [p for name, p in named if not (name.endswith("bias") or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": undecayed, "weight_decay": 0.0}]
    # an eps that keeps a gradient which is zero but for rounding from becoming a step of full size
    settings = {"lr": 0.01, "betas": [0.9, 0.98], "eps": 1e-5}
    optimizer = torch.optim.AdamW(groups, **settings)
    scheduler = get_scheduler("cosine", optimizer, num_warmup_steps=2, num_training_steps=steps)
    losses, norms, rates = [], [], []
    for step in range(steps):
        total = 0
        for batch in batches[step * accumulation : (step + 1) * accumulation]:
            loss = model(**batch).loss / accumulation
            loss.backward()
            total += loss.item()
        losses.append(total)
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    expected = {f"final.{name}": p.detach().clone() for name, p in named}
    expected.update({"losses": torch.tensor(losses), "norms": torch.tensor(norms), "rates": torch.tensor(rates)})
    model.load_state_dict(start)
    about = {"steps": steps, "accumulation": accumulation, "warmup": 2, "weightDecay": 0.05, "maxGradNorm": 1.0, **settings}
    inputs = {f"{key}.{i}": value for i, batch in enumerate(batches) for key, value in batch.items()}
    write(root / "training", model, inputs, expected, **about)


def main():
    root = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    for case in cases():
        head_case(root, *case)
    training_case(root)
    sizes = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    print(f"PyTorch {torch.__version__}, Transformers {transformers.__version__}: {sizes / 1024:.0f} KiB")


main()
