"""Writes generation-config.jsonl: what Transformers makes of a folder's generation_config.json and config.json.

    python test/generation/make_generation_config.py test/generation/generation-config.jsonl

Needs PyTorch 2.13 and Transformers 5.18. The model is the first of generation.json; its weights are computed again by
test/generation/weights.ts. Each run is a folder, what from_pretrained and generate() are told, and what comes of it: the sequences, and
the generation_config.json that save_pretrained writes. The first line is about the weights, and each other one is a run.
"""

import json
import os
import sys
import tempfile

import torch
import transformers
from make_generation import BEAM_MARGIN, GREEDY_MARGIN, Margins, snake, tensor
from transformers import BertConfig, BertLMHeadModel

PROMPT = [18, 8, 7, 33, 21]
PADDED = [[0, 0, 18, 8], [7, 33, 0, 21]]


def runs_of(eos, other):
    """Name, keys of config.json, generation_config.json or None, fields for from_pretrained, options of the call, prompts.

    `eos` and `other` are ids that the model likes, the former first.
    """
    ends = {"eos_token_id": eos, "bos_token_id": 11}
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6}
    inert = {
        "use_cache": False,
        "renormalize_logits": True,
        "no_repeat_ngram_size": 0,
        "num_beam_groups": 1,
        "diversity_penalty": 0.5,
        "typical_p": 1.0,
        "min_p": 0.3,
        "encoder_repetition_penalty": 1.0,
        "suppress_tokens": [],
        "guidance_scale": 1,
        "assistant_confidence_threshold": 0.4,
    }
    return [
        ("without the file, tokens are those of config.json", ends, None, {}, {}, [PROMPT]),
        ("without the file and prompts", ends, None, {}, {"maxNewTokens": 5}, None),
        (
            "without the file, older config.json have its keys",
            {**ends, "num_beams": 3, "max_length": 12, "length_penalty": 2.0, "do_sample": False},
            None,
            {},
            {},
            [PROMPT],
        ),
        ("the file has no tokens, and config.json's are not asked", ends, {}, {}, {}, [PROMPT]),
        ("the file has other tokens than config.json", ends, {"eos_token_id": other, "bos_token_id": 19}, {}, {}, [PROMPT]),
        ("the file says where to start", ends, {"bos_token_id": 19, "max_length": 6}, {}, {}, None),
        ("the file has null", ends, {"eos_token_id": None, "max_length": None, "temperature": None}, {}, {}, [PROMPT]),
        ("the file has keys that nobody knows", {}, {"max_new_tokens": 3, "house_style": {"a": [1, 2.5]}}, {}, {}, [PROMPT]),
        ("the file was made of a config", {}, {"_from_model_config": True, "pad_token_id": 0, "eos_token_id": other}, {}, {}, [PROMPT]),
        ("from_pretrained is told a token", ends, {"eos_token_id": other, "max_length": 14}, {"eosTokenId": eos}, {}, [PROMPT]),
        ("the call wins", ends, {"eos_token_id": other, "max_new_tokens": 9}, {}, {"eosTokenId": eos, "maxNewTokens": 12}, [PROMPT]),
        ("the call wants no end", ends, {"eos_token_id": eos}, {}, {"eosTokenId": None}, [PROMPT]),
        ("new tokens of the file win over the call's length", {}, {"max_new_tokens": 3}, {}, {"maxLength": 20}, [PROMPT]),
        ("new tokens of the call win over the file's length", {}, {"max_length": 9}, {}, {"maxNewTokens": 2}, [PROMPT]),
        ("a length in the file is of the whole sequence", {}, {"max_length": 20}, {}, {}, [PROMPT]),
        ("the least length of the call, and new tokens of the file", {}, {"min_new_tokens": 6, "eos_token_id": eos}, {}, {"minLength": 0}, [PROMPT]),
        ("a file of beams", {}, {**beams, "length_penalty": -1.0, "early_stopping": True, "eos_token_id": [eos, other]}, {}, {}, [PROMPT]),
        ("fewer beams in the call", {}, {**beams, "early_stopping": "never"}, {}, {"numBeams": 2}, [PROMPT]),
        ("one beam in the call", {}, beams, {}, {"numBeams": 1, "numReturnSequences": 1}, [PROMPT]),
        ("draws among one token", {}, {"do_sample": True, "top_k": 1, "temperature": 0.5, "max_new_tokens": 6}, {}, {}, [PROMPT]),
        ("a penalty", {}, {"repetition_penalty": 1.3, "max_new_tokens": 12}, {}, {}, [PROMPT]),
        ("an end that the vocabulary does not have", {}, {"eos_token_id": 99}, {}, {}, [PROMPT]),
        ("keys that change nothing as they are", {}, {**inert, "max_new_tokens": 6}, {}, {}, [PROMPT]),
        ("padding of the file", {}, {"pad_token_id": 0, "max_new_tokens": 4}, {}, {}, PADDED),
        ("no padding in the file", {}, {"max_new_tokens": 4}, {}, {}, PADDED),
    ]


def main(path):
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with open(os.path.join(os.path.dirname(__file__), "generation.json")) as file:
        case = json.load(file)["cases"][0]
    model = BertLMHeadModel(BertConfig(**case["config"])).eval()
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict({key: tensor(case["seed"], key, shape, case["scales"], True) for key, shape in shapes.items()})
    free = model.generate(torch.tensor([PROMPT]), max_new_tokens=16)[0, len(PROMPT) :].tolist()
    eos = free[4]
    other = next(token for token in free[7:] if token != eos)

    rows = []
    for name, config, generation, load, call, prompts in runs_of(eos, other):
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            at = lambda file: os.path.join(folder, file)
            with open(at("config.json")) as file:
                whole = {**json.load(file), **config}
            with open(at("config.json"), "w") as file:
                json.dump(whole, file)
            os.remove(at("generation_config.json"))
            if generation is not None:
                with open(at("generation_config.json"), "w") as file:
                    json.dump(generation, file)
            loaded = BertLMHeadModel.from_pretrained(folder, **{snake(key): value for key, value in load.items()}).eval()
            margins = Margins(loaded)
            options = {snake(key): value for key, value in call.items()}
            inputs = [] if prompts is None else [torch.tensor(prompts)]
            result = loaded.generate(*inputs, **options, return_dict_in_generate=True, output_scores=True)
            gaps = [float(best[0] - best[1]) for scores in result.scores for best in scores.topk(2, dim=-1)[0]]
            is_beams = "beam_indices" in result
            gap, least = (margins.closest, BEAM_MARGIN) if is_beams else (min(gaps), GREEDY_MARGIN)
            assert gap > least, (name, gap)
            length = 0 if prompts is None else len(prompts[0])
            new = result.sequences.tolist() if prompts is None else result.sequences[:, length:].tolist()
            # fillings behind an end
            if is_beams:
                new = [row[: int((beams >= 0).sum())] for row, beams in zip(new, result.beam_indices)]
            saved = None
            try:
                loaded.save_pretrained(at("saved"))
                with open(at("saved/generation_config.json")) as file:
                    saved = json.load(file)
            except ValueError as error:  # keys that say nothing as they are: Transformers loads such a file and does not save it
                print(name, "is not saved:", str(error).splitlines()[1])
        rows.append({"name": name, "configJson": config, "generationConfigJson": generation, "load": load, "call": call, "prompts": prompts, "newTokens": new, "saved": saved})
    made_with = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    weights = {key: case[key] for key in ("config", "seed", "scales")}
    with open(path, "w") as file:
        for row in [{"madeWith": made_with, "weights": weights}, *rows]:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


main(sys.argv[1])
