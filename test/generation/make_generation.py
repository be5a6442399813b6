"""Writes generation.json: what Transformers' generate() makes of ten random decoders.

    python test/generation/make_generation.py test/generation/generation.json

Needs PyTorch 2.13 and Transformers 5.18. No weight is stored. Every number of every tensor is a function of a seed, the tensor's
name and the position, in integer arithmetic and float32 products that are exact, which test/generation/weights.ts computes again.

Each prompt is generated alone, because ragged input gives a sequence what Transformers gives it alone. Where that is possible the
prompts are generated once more as one batch, padded on the left, and must give the same ids. A seed is rejected when two
alternatives that decide about an id are so close that float32 rounding could swap them.
"""

import json
import sys

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertLMHeadModel

GREEDY_MARGIN = 1e-3
BEAM_MARGIN = 2e-4

SIZES = [
    # name, vocab, hidden, layers, heads, intermediate, other fields of the config, scale of the embeddings, encoder lengths
    ("tiny", 37, 16, 1, 2, 32, {}, 1.6, None),
    ("two layers", 101, 32, 2, 4, 64, {}, 1.2, None),
    ("untied relu", 257, 48, 3, 3, 96, {"hidden_act": "relu", "tie_word_embeddings": False}, 1.0, None),
    ("eight heads", 503, 64, 2, 8, 128, {"hidden_act": "gelu_new"}, 1.0, None),
    ("one head, four layers", 67, 32, 4, 1, 48, {"layer_norm_eps": 1e-6}, 1.2, None),
    ("five heads", 1009, 40, 2, 5, 80, {"type_vocab_size": 1}, 1.2, None),
    ("cross-attention", 89, 32, 2, 4, 64, {"add_cross_attention": True}, 1.2, [5, 5, 5]),
    ("cross-attention, ragged states", 211, 48, 1, 6, 96, {"add_cross_attention": True}, 1.0, [3, 7, 1]),
    ("few positions", 53, 24, 2, 2, 40, {"max_position_embeddings": 26}, 1.4, None),
    (
        "untied cross-attention",
        997,
        64,
        1,
        2,
        64,
        {"add_cross_attention": True, "tie_word_embeddings": False, "hidden_act": "silu"},
        1.0,
        [2, 4, 6],
    ),
]


def runs_of(eos, pair):
    """The options of each run; `eos` and `pair` are ids that the model likes."""
    # the same but for when to stop
    stops = {"numBeams": 3, "numReturnSequences": 3, "maxNewTokens": 14, "eosTokenId": [eos, *pair]}
    return [
        *({**stops, "lengthPenalty": 2.0, "earlyStopping": early} for early in (True, False, "never")),
        *({**stops, "lengthPenalty": -1.0, "earlyStopping": early} for early in (True, "never")),
        {"maxNewTokens": 16},
        {"maxNewTokens": 16, "eosTokenId": eos},
        {"maxNewTokens": 12, "repetitionPenalty": 1.3},
        {"maxNewTokens": 14, "minNewTokens": 8, "eosTokenId": pair},
        {"maxLength": 15, "minLength": 11, "eosTokenId": pair, "repetitionPenalty": 0.9},
        {"eosTokenId": eos},
        {"numBeams": 2, "maxNewTokens": 10},
        {"numBeams": 4, "numReturnSequences": 3, "maxNewTokens": 12, "eosTokenId": eos, "lengthPenalty": 2.0, "earlyStopping": True},
        {"numBeams": 3, "numReturnSequences": 3, "maxNewTokens": 12, "eosTokenId": pair, "lengthPenalty": 0.6, "earlyStopping": "never"},
        {"numBeams": 5, "numReturnSequences": 2, "maxNewTokens": 9, "eosTokenId": eos, "lengthPenalty": -0.5},
        {"numBeams": 3, "maxNewTokens": 10, "repetitionPenalty": 1.2, "minNewTokens": 4, "eosTokenId": pair, "lengthPenalty": 0.0, "earlyStopping": "never"},
        {"numBeams": 4, "numReturnSequences": 4, "maxLength": 14, "eosTokenId": pair},
        {"numBeams": 2, "numReturnSequences": 2, "earlyStopping": True, "eosTokenId": pair},
    ]


def uniform(seed, name, count):
    """float32 in [-1, 1): multiples of 2^-23, from the finaliser of MurmurHash3 over a counter that starts at a hash of the name."""
    start = 2166136261 ^ seed
    for char in name.encode():
        start = ((start ^ char) * 16777619) & 0xFFFFFFFF
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(start)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def tensor(seed, name, shape, scales, tied):
    # a tensor that is saved under two names has the numbers of the first
    source = name
    if name == "cls.predictions.decoder.bias":
        source = "cls.predictions.bias"
    if name == "cls.predictions.decoder.weight" and tied:
        source = "bert.embeddings.word_embeddings.weight"
    kind = "bias" if source.endswith("bias") else "linear"
    if "embeddings.weight" in source or source == "cls.predictions.decoder.weight":
        kind = "embedding"
    if source.endswith("LayerNorm.weight"):
        kind = "layerNorm"
    values = uniform(seed, source, int(np.prod(shape))) * np.float32(scales[kind])
    if kind == "layerNorm":
        values = np.float32(1) + values
    return torch.from_numpy(values.reshape(shape))


class Margins:
    """Watches the decisions of one call and remembers the closest."""

    def __init__(self, model):
        self.closest = float("inf")
        top_k = model._get_top_k_continuations
        running = model._get_running_beams_for_next_iteration
        finished = model._update_finished_beams
        heuristic = model._check_early_stop_heuristic

        def watched_running(**kw):
            scores, hits = kw["topk_log_probs"], kw["next_token_hits_stopping_criteria"]
            n = kw["num_beams"]
            for row, hit in zip(scores.tolist(), hits.tolist()):
                open_scores = [s for s, h in zip(row, hit) if not h and s > -1e8]
                if len(open_scores) > n:
                    self.see(open_scores[n - 1] - open_scores[n])
                if (hit[n - 1] or hit[n]) and row[n] > -1e8:
                    self.see(row[n - 1] - row[n])
            return running(**kw)

        def watched_finished(**kw):
            result = finished(**kw)
            length = kw["cur_len"] + 1 - kw["decoder_prompt_len"]
            new = kw["topk_log_probs"] / length ** kw["length_penalty"]
            done = kw["next_token_hits_stopping_criteria"] & kw["top_num_beam_mask"][None, :]
            for old, was, fresh, now in zip(kw["beam_scores"].tolist(), kw["is_sent_finished"].tolist(), new.tolist(), done.tolist()):
                scores = [s for s, d in zip(old, was) if d] + [s for s, d in zip(fresh, now) if d]
                scores = sorted((s for s in scores if s > -1e8), reverse=True)
                for a, b in zip(scores, scores[1:]):
                    self.see_final(a, b)
            return result

        def watched_heuristic(**kw):
            early, penalty = kw["early_stopping"], kw["length_penalty"]
            length = (kw["max_length"] if early == "never" and penalty > 0 else kw["cur_len"]) - kw["decoder_prompt_len"]
            best = kw["running_beam_scores"][:, 0] / length**penalty
            worst = kw["beam_scores"].min(dim=1)[0]
            for b, w, full in zip(best.tolist(), worst.tolist(), kw["is_sent_finished"].all(dim=1).tolist()):
                if full and b > -1e8:
                    self.see_final(b, w)
            return heuristic(**kw)

        model._get_top_k_continuations = top_k
        model._get_running_beams_for_next_iteration = watched_running
        model._update_finished_beams = watched_finished
        model._check_early_stop_heuristic = watched_heuristic

    def see(self, gap):
        self.closest = min(self.closest, gap)

    def see_final(self, a, b):
        """Scores over a power of the length: their rounding is relative, so the gap is too, as of sums of size 10."""
        self.see(10 * abs(a - b) / max(abs(a), abs(b)))


def snake(name):
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


def generate(model, prompts, options, states=None):
    """-> new ids of each returned sequence, and the smallest margin of the greedy choices."""
    length = max(map(len, prompts))
    ids = torch.tensor([[0] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    extra = {}
    if states is not None:
        longest = max(len(s) for s in states)
        extra["encoder_hidden_states"] = torch.stack([torch.nn.functional.pad(s, (0, 0, 0, longest - len(s))) for s in states])
        extra["encoder_attention_mask"] = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in states])
        # Transformers makes a cache without a place for cross-attention here
        extra["use_cache"] = False
    result = model.generate(
        ids,
        attention_mask=mask,
        pad_token_id=0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **{snake(name): value for name, value in options.items()},
        **extra,
    )
    eos = options.get("eosTokenId", [])
    eos = eos if isinstance(eos, list) else [eos]
    new = result.sequences[:, length:].tolist()
    gap = float("inf")
    if "beam_indices" in result and result.beam_indices is not None:
        new = [row[: int((beams >= 0).sum())] for row, beams in zip(new, result.beam_indices)]
    else:
        ends = [next((i + 1 for i, token in enumerate(row) if token in eos), len(row)) for row in new]
        for step, scores in enumerate(result.scores):
            best = scores.topk(2, dim=-1)[0]
            for row, end in enumerate(ends):
                if step < end:
                    gap = min(gap, float(best[row, 0] - best[row, 1]))
        new = [row[:end] for row, end in zip(new, ends)]
    return new, gap


def attempt(size, seed):
    name, vocab, hidden, layers, heads, intermediate, fields, embedding, encoder = size
    config_fields = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": 40,
        "is_decoder": True,
        **fields,
    }
    scales = {"linear": 2.0 / hidden**0.5, "bias": 0.3, "embedding": embedding, "layerNorm": 0.3}
    scales = {kind: float(np.float32(scale)) for kind, scale in scales.items()}
    model = BertLMHeadModel(BertConfig(**config_fields)).eval()
    tied = config_fields.get("tie_word_embeddings", True)
    state = {key: tensor(seed, key, value.shape, scales, tied) for key, value in model.state_dict().items()}
    model.load_state_dict(state)

    count = 3
    spread = (uniform(seed, "prompts", 64).astype(np.float64) + 1) / 2
    lengths = [2, 5, 9] if seed % 2 else [7, 1, 4]
    at, prompts = 0, []
    for length in lengths:
        prompts.append([1 + int(spread[at + i] * (vocab - 1)) for i in range(length)])
        at += length
    states = None
    if encoder:
        states = [torch.from_numpy((uniform(seed, f"states.{b}", encoder[b] * hidden) * np.float32(1.5)).reshape(encoder[b], hidden)) for b in range(count)]
    pick = lambda b: None if states is None else [states[b]]

    margins = Margins(model)
    free = [generate(model, [prompts[b]], {"maxNewTokens": 16}, pick(b))[0][0] for b in range(count)]
    eos = free[0][4]
    first = next((token for token in free[1][5:] if token != eos), None)
    second = next((token for token in free[2][8:] if token not in (eos, first)), None)
    if first is None or second is None:
        return "eos ids are not distinct"
    pair = [first, second]
    runs = []
    short = {"greedy": 0, "beam": 0}
    for options in runs_of(eos, pair):
        margins.closest = float("inf")
        outputs = []
        for b in range(count):
            new, gap = generate(model, [prompts[b]], options, pick(b))
            if gap < GREEDY_MARGIN or margins.closest < BEAM_MARGIN:
                return f"near tie in {options}: {gap:.1e} {margins.closest:.1e}"
            outputs += new
        # limits of the whole length mean other numbers of new tokens in a batch, and the penalty falls on the padding too
        if "maxNewTokens" in options and "repetitionPenalty" not in options:
            together, _ = generate(model, prompts, options, states)
            assert together == outputs, (name, options, together, outputs)
        if "maxNewTokens" in options:
            short["beam" if "numBeams" in options else "greedy"] += sum(len(new) < options["maxNewTokens"] for new in outputs)
        runs.append({"options": options, "newTokens": outputs})
    if min(short.values()) < 3:
        return f"too few sequences end early: {short}"
    return {
        "name": name,
        "config": config_fields,
        "seed": seed,
        "scales": scales,
        "prompts": prompts,
        **({"encoderLengths": encoder} if encoder else {}),
        "runs": runs,
    }


def processed(model):
    """The ids that the processors of sampling leave, for random scores; `grid` puts scores on multiples of it, so that many are equal."""
    rows = []
    for index, (options, grid) in enumerate(
        [
            ({"topK": 5}, 0),
            ({"topK": 5}, 0.5),
            ({"topK": 200}, 0),
            ({"topK": 0, "topP": 0.9}, 0),
            ({"topK": 0, "topP": 0.9}, 0.5),
            ({"topK": 0, "topP": 0.3, "temperature": 0.7}, 0.25),
            ({"topK": 0, "topP": 0.0}, 0),
            ({"topK": 20, "topP": 0.6, "temperature": 1.7}, 0),
            ({"topK": 20, "topP": 0.6, "temperature": 0.4, "repetitionPenalty": 1.8}, 0),
            ({"topK": 30, "topP": 0.8, "repetitionPenalty": 0.6, "minNewTokens": 3, "eosTokenId": [3, 77]}, 0),
            ({"topK": 30, "topP": 0.8, "minLength": 12, "eosTokenId": 9}, 0),
            ({"topK": 1, "numBeams": 2}, 0),
            ({"topK": 1, "topP": 0.01, "numBeams": 2, "eosTokenId": [3, 9, 77]}, 0),
        ]
    ):
        vocab = 101
        scores = uniform(index, "scores", vocab) * np.float32(6)
        if grid:
            scores = np.round(scores / np.float32(grid)) * np.float32(grid)
        ids = [int(token) for token in (uniform(index, "ids", 10).astype(np.float64) + 1) / 2 * vocab]
        config = transformers.GenerationConfig(do_sample=True, **{snake(name): value for name, value in options.items()})
        eos = options.get("eosTokenId")
        config._eos_token_tensor = None if eos is None else torch.tensor(eos if isinstance(eos, list) else [eos])
        processors = model._get_logits_processor(config, input_ids_seq_length=8)
        left = processors(torch.tensor([ids]), torch.from_numpy(scores)[None])[0]
        rows.append({"options": options, "grid": grid, "promptLength": 8, "kept": torch.nonzero(left > -np.inf)[:, 0].tolist()})
    return rows


def main(path):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    cases = []
    for index, size in enumerate(SIZES):
        for seed in range(1000 * (index + 1), 1000 * (index + 1) + 200):
            case = attempt(size, seed)
            if isinstance(case, dict):
                cases.append(case)
                print(size[0], seed, flush=True)
                break
            print("  ", size[0], seed, case, flush=True)
        else:
            raise SystemExit(f"no seed for {size[0]}")
    made_with = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    config = BertConfig(vocab_size=101, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, is_decoder=True)
    lines = lambda rows: ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    with open(path, "w") as file:
        file.write(f'{{"madeWith":{json.dumps(made_with)},"cases":[\n{lines(cases)}\n],"processed":[\n')
        file.write(f"{lines(processed(BertLMHeadModel(config)))}\n]}}\n")


if __name__ == "__main__":
    main(sys.argv[1])
