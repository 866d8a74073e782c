"""English wording of the report."""

WORDS = {
    "title": "Run “{name}”: the results",
    "subtitle": "A Heedful report: everything here was measured in this run",
    "promoted": "{policy} is promoted: it beats {baseline} in {rate} of {n} held-out prompts "
    "({judge}, temperature 1, ties count half).",
    "kept": "No policy is measurably better than {baseline} on {n} held-out prompts ({judge}), so {baseline} stays.",
    "unfinished": "This run has not been evaluated yet: what is finished is shown.",
    "round": "Round {number} of {count} is shown; the figures of every round stand at the end.",
    # Names
    "policy_sft": "SFT",
    "policy_given": "the given model",
    "policy_before": "before",
    "policy_prefer": "DPO",
    "policy_rl": "RL",
    "stage_world": "built-in world",
    "stage_tokenizer": "tokenizer",
    "stage_pretrain": "pretraining",
    "stage_sft": "fine-tuning",
    "stage_feedback": "feedback",
    "stage_reward": "reward model",
    "stage_prefer": "DPO",
    "stage_rl": "RL (PPO)",
    "stage_evaluate": "evaluation",
    "task_write": "write a story",
    "task_continue": "continue a story",
    "task_question": "answer a question",
    "task_unanswerable": "say it is not told",
    "task_harmful": "decline harm",
    "judge_gold": "gold judge",
    "judge_given": "judge",
    "judge_reward": "reward model",
    "criterion_helpful": "helpful",
    "criterion_honest": "honest",
    "criterion_harmless": "harmless",
    "criterion_grade": "overall grade",
    # Cards
    "card_win": "{policy} beats {baseline} in",
    "card_win_note": "of {n} prompts; {greedy} greedily",
    "card_win_note_plain": "of {n} prompts",
    "card_accuracy": "The reward model is right on",
    "card_accuracy_note": "of judgements; annotators agree on {agreement}",
    "card_accuracy_note_plain": "of held-out judgements",
    "card_kl": "{policy} moved away by",
    "card_kl_note": "nats of KL from {baseline}",
    "card_stop": "{policy} ends by itself",
    "card_stop_note": "of answers; {baseline} {usual}",
    "card_loss": "Held-out loss of {stage}",
    "card_loss_note": "nats per token",
    "card_time": "The whole run took",
    "card_time_note": "peak memory {memory}",
    "card_time_note_plain": "summed over its stages",
    # Cautions
    "cautions": "Warnings",
    "no_cautions": "None of the rules that guard against a misleading result fired: reward hacking, drift in "
    "length, answers that do not end, repetition, distance from the start, a weak reward model, a task that got "
    "worse.",
    "no_cautions_reward": "None of the rules on length, endings, repetition, distance and tasks fired. But nobody "
    "except the reward model judged these answers, so a policy that games its reward would not show.",
    "in_round": "Round {number}: {text}",
    "caution_accuracy": "The reward model is right on {accuracy} of judgements, less than annotators agree with "
    "each other ({agreement}): more judgements or a larger reward model would help.",
    "caution_overoptimised": "{policy}: the reward model prefers it in {proxy} of prompts, the gold judge in only "
    "{gold}. It learnt to please the reward model: stop earlier or raise kl_coef.",
    "caution_fell": "{policy}: the reward model likes it more than in the round before, the gold judge less ({before}, "
    "now {now}): this round’s reward model was gamed, and the last round’s policy is the better one.",
    "caution_unheeded": "{policy}: the reward model prefers it in {proxy} of prompts, but of the held-out judgements "
    "it sides with only {agreement}, which chance alone could explain. It may have learnt to please the reward model: "
    "stop earlier or raise kl_coef, and read its answers.",
    "caution_hindsight": "The policy of the round before: its own reward model preferred it to {baseline} in {proxy} "
    "of prompts, this round’s, which has learnt from judgements of its answers, in only {later}. It had learnt to "
    "please its reward model: stop earlier or raise kl_coef.",
    "caution_peaked": "RL: the judge’s mean mark was best around iteration {iteration} ({best}) and fell to {last} by "
    "the end, while the reward went on from {before} to {now}. It learnt to please the reward model: stop there, or "
    "raise kl_coef.",
    "caution_collapse": "RL’s policy has stopped choosing: its entropy fell from {first} to {last} nats per token. "
    "Raise entropy_coef or kl_coef, or stop earlier.",
    "caution_unlikely": "{policy}: the log-prob of held-out chosen answers fell by {fall} nats, so probability went to "
    "answers that nobody chose. loss=dpo_nll holds it up; the win rate says whether answers got worse.",
    "caution_task_below": "{policy} is worse than {baseline} at “{task}”: it wins {rate}.",
    "caution_task_below_greedy": "{policy}, decoded greedily, is worse than {baseline} at “{task}”: it wins {rate}.",
    "caution_task_by_chance": "{policy} may be worse than {baseline} at “{task}”: it wins {rate}, which chance "
    "alone could explain.",
    "caution_task_by_chance_greedy": "{policy}, decoded greedily, may be worse than {baseline} at “{task}”: it wins "
    "{rate}, which chance alone could explain.",
    "caution_ties": "{policy}: the judge cannot tell {share} of its answers from {baseline}’s, more than a third: "
    "the win rate says little.",
    "caution_stop": "{policy}: only {rate} of answers end by themselves, the rest are cut (95 % are wanted).",
    "caution_kl": "{policy} is {kl} nats of KL away from {baseline}: beyond 20 a policy has often lost its language.",
    "caution_longer": "{policy} answers with {length} tokens on average, {baseline} with {usual}: length may have "
    "been rewarded instead of quality.",
    "caution_shorter": "{policy} answers with {length} tokens on average, {baseline} with {usual}: it may have "
    "learnt to say less instead of better.",
    "caution_repetition": "{policy} repeats itself: {share} of its four-token sequences stood in the answer before, "
    "{usual} of {baseline}’s.",
    # The loop
    "loop": "The loop",
    "loop_note": "Each box is one stage with the time it took in all. People’s judgements train the reward model, "
    "which trains the policy; DPO learns from the same judgements directly. The better policy answers next.",
    "loop_alt": "The stages of the loop and the time each took",
    "loop_next": "next round: the better policy answers",
    "loop_model": "your model",
    "loop_preferences": "judgements",
    "loop_open": "not finished",
    # Win rates
    "wins": "Does it heed people better?",
    "wins_note": "Two policies answer the same held-out prompt and a judge says which answer is better; ties count "
    "half. Bars are 95 % intervals: where one reaches the dashed line at 50 %, no difference is shown.",
    "overall": "All prompts",
    "overall_caption": "How often each policy beats {baseline}. Filled marks are the view of the {judge}, hollow ones "
    "that of the reward model which RL was trained to please: a hollow mark far to the right of its filled "
    "neighbour is the sign of a policy that games its reward.",
    "overall_caption_reward": "How often each policy beats {baseline} by the reward model’s view. Nobody else judged "
    "these answers, and RL was trained to please this model: read them too.",
    "by_judge": "{judge}, temperature 1",
    "by_judge_greedy": "{judge}, greedy",
    "tasks": "Task by task: {judge}",
    "tasks_caption": "The same at temperature 1 for each kind of prompt. A policy that gains on average can still "
    "lose at one task; such a task would lie left of the line.",
    "tasks_caption_reward": "The reward model’s view of the same answers. Where it sees a gain that the {judge} does "
    "not see, it can be fooled.",
    "criteria": "Marks by criterion",
    "criteria_caption": "The mean mark, 0 to 1, that the {judge} gives to answers at temperature 1, by criterion.",
    "rounds": "Round after round",
    "rounds_caption": "How often each round’s policy beats {baseline} ({judge}, temperature 1).",
    "round_label": "Round {number}",
    # Table
    "table": "All policies",
    "table_note": "Means over the held-out prompts with 95 % intervals.",
    "measure": "measure",
    "row_win_rate": "beats {baseline}, {judge}",
    "row_ties": "ties with {baseline}, {judge}",
    "row_grade": "mark, {judge}",
    "row_reward": "reward model’s score",
    "row_kl": "KL from {baseline}, nats",
    "row_length": "length, tokens",
    "row_stop_rate": "ends by itself",
    "row_repetition": "repeated 4-token sequences",
    "row_heldout_perplexity": "held-out perplexity",
    "row_heldout_agreement": "sides with held-out judgements",
    "row_correct": "questions answered correctly",
    "greedily": "{row}, greedy",
    # Rounds
    "history": "All rounds",
    "history_note": "Each round learns from the same start and from all judgements so far. Its policies are measured "
    "on the same held-out prompts, its reward model on judgements that it was not trained on. Where a policy’s win "
    "rate by the reward model rises from round to round and the other one does not, the reward model is being gamed.",
    "promoted_row": "promoted",
    # Reward model
    "reward": "Can the reward model be trusted?",
    "reward_note": "Judgements on prompts that it was not trained on. A model that knows what most people prefer "
    "agrees with one of them at least as often as two of them agree: that is the mark to reach.",
    "agreement": "Reward model and annotators",
    "agreement_caption": "How often two sides choose the same answer of a pair. The dashed line is guessing.",
    "agree_annotators": "Annotators agree with each other",
    "agree_same": "Reward model, the same pairs",
    "agree_all": "Reward model, all held-out judgements",
    "agree_gold": "Reward model agrees with gold",
    "agree_annotators_gold": "Annotators agree with gold",
    "parts": "On which judgements is it right?",
    "parts_caption": "The number in front counts judgements. Whoever goes by length alone stands on the dashed line in "
    "the first row, however often people choose the longer answer.",
    "length_controlled_accuracy": "Longer and shorter, equal weight",
    "chosen_longer": "The longer answer is better",
    "chosen_shorter": "The shorter answer is better",
    "by_strength": "Strength of the preference: {part}",
    "by_criterion": "Judged by: {part}",
    "benchmark": "On the benchmark",
    "benchmark_caption": "Accuracy by subset; the number in front counts pairs.",
    "benchmark_all": "All pairs",
    "calibration": "When it is sure, is it right?",
    "calibration_caption": "Judgements grouped by how sure the reward model was, and how often people chose as it "
    "did; the small numbers count judgements. On the dashed line its probabilities mean what they say{error}.",
    "calibration_error": " (mean gap {gap})",
    "calibration_x": "how sure the model was",
    "calibration_y": "people chose likewise",
    # RL
    "rl": "How reinforcement learning went",
    "rl_note": "Measured on the answers sampled in training, before each update.",
    "iteration": "iteration",
    "first": "first",
    "last": "last",
    "reward_kl": "Reward against distance",
    "reward_kl_x": "KL from the start, nats",
    "reward_kl_caption": "One dot an iteration, later ones stronger. Reward that still rises for little distance is "
    "cheap; a curve that turns flat or falls has taken what the reward model can give.",
    "reward_sqrt": "Reward against the root of distance",
    "reward_sqrt_x": "√KL",
    "reward_sqrt_caption": "The same over √KL, the scale on which over-optimisation follows simple laws.",
    "course_reward": "Reward",
    "course_reward_caption": "The reward model’s mean score of the answers, less the penalty for unfinished ones.",
    "course_judge": "Judge’s mark",
    "course_judge_caption": "The mean mark of the same answers by a judge that nothing is learnt from. Where it turns "
    "down and the reward does not, the reward model is being gamed.",
    "course_kl": "KL from the start, nats",
    "course_kl_caption": "How far the policy’s answers have moved from what the start would have said.",
    "course_kl_coef": "KL penalty",
    "course_kl_coef_caption": "The controller raises the penalty when the policy moves too far and lowers it when it "
    "may go on.",
    "course_length": "Length, tokens",
    "course_length_caption": "A steady climb would mean that length is rewarded, not quality.",
    "course_stop": "Answers that end by themselves",
    "course_stop_caption": "The rest reached the longest length that was allowed and were cut.",
    "course_entropy": "Entropy, nats per token",
    "course_entropy_caption": "How freely the policy still chooses; near zero it says the same thing every time.",
    "course_value_explained": "Critic: returns explained",
    "course_value_explained_caption": "1 is a critic that foresees every return, 0 one that knows only their mean.",
    "course_clip_ratio": "Clipped updates",
    "course_clip_ratio_caption": "The share of tokens at which PPO’s clip held the update back.",
    # Losses
    "losses": "How training went",
    "losses_note": "The thin line is each step’s loss, the thick one its running mean, the dashed one the loss on "
    "data held out from training.",
    "step": "step",
    "training": "training",
    "heldout": "held out",
    "loss_pretrain_caption": "Nats per token of raw text: lower means that the next token surprises the model less.",
    "loss_sft_caption": "Nats per token of the answers: the model learns to answer as the demonstrations do.",
    "loss_reward_caption": "Nats per judgement. Guessing gives 0.693; below it the model knows what people prefer.",
    "loss_named_caption": "The mean of the loss that was chosen; what it starts at depends on which one it is.",
    "loss_prefer_caption": "Nats per pair. It starts at 0.693, where the policy is still its own reference.",
    # Time
    "time": "Where the time went",
    "time_note": "Seconds of wall clock in each stage, summed over rounds: {total} in all.",
    "time_alt": "Time of every stage",
    # Samples
    "samples": "Read the answers",
    "samples_note": "Prompts were drawn by the hash of their text, a few of each task, not by their result. Answers at "
    "temperature 1; the mark is the {judge}’s{reward}.",
    "samples_note_plain": "Prompts were drawn by the hash of their text, a few of each task, not by their result. "
    "Answers at temperature 1; the number is the reward model’s score.",
    "samples_reward": ", the second number the reward model’s score",
    "role_user": "prompt",
    "role_assistant": "assistant",
    "role_system": "system",
    "cut": "cut",
    "empty": "(empty answer)",
    "mark": "mark {value}",
    "score": "score {value}",
    # Panels
    "panels": "Panels",
    "panels_note": "What a passage is written from: people, places, things, memory, plan. The same held-out passages "
    "in every context.",
    "panels_losses": "Loss of the same passages under each context",
    "panels_losses_caption": "Nats a token with 95 % intervals over seeds. A panel is of use if its bar is shorter "
    "than plain text’s; another story’s panel must not be.",
    "panels_nats": "What each field of the panel saves",
    "panels_nats_caption": "Nats a passage, when all the other fields are there.",
    "panels_f1": "How well panels are read",
    "panels_f1_caption": "F1 of the lines that were read against the true ones; no interval is known.",
    "panels_loss": "The text under better panels",
    "panels_loss_caption": "Nats a token of the same passages with a panel, by the study of each round.",
    "panels_first": "Before any round",
    "context_panel": "panel",
    "context_text": "plain text as long",
    "context_longer text": "more plain text",
    "context_shuffled": "another story’s panel, trained so",
    "context_fixed": "one panel for all, trained so",
    "context_tested shuffled": "another story’s panel, at the test only",
    "field_people": "people",
    "field_places": "places",
    "field_things": "things",
    "field_long_memory": "long memory",
    "field_rules": "rules",
    "field_goals": "goals",
    "field_future": "future",
    "field_style": "style",
    "field_short_memory": "short memory",
    "field_plan": "plan",
    "field_whole panel": "whole panel",
    # Details
    "details": "Everything else",
    "facts": "What was run",
    "fact_command": "command",
    "fact_seed": "seed",
    "fact_commit": "commit",
    "fact_versions": "versions",
    "fact_device": "device",
    "fact_threads": "threads",
    "fact_time": "time",
    "fact_memory": "peak memory",
    "all_figures": "All figures, as in summary.json",
    "settings": "Settings, as in run.json",
    "column_name": "name",
    "column_value": "value",
    "column_interval": "95 % interval",
    "column_n": "n",
    "column_unit": "unit",
}
