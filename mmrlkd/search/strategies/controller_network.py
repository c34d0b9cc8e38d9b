"""The recurrent network that emits recipes, token by token."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical

#: Sequences of m children over L levels: 'on' (m, L), 'loss' (m, L) and
#: 'connector' (m, L) int64, 'teachers' (m, L, L) bool, whose [k, i, j] says
#: that child k draws the teacher's level j for the student's level i. Tokens of
#: a level that is off were not emitted; their values have no meaning.
Tokens = dict[str, Tensor]

#: A token's type, the student's level and the distribution -> the tokens (m, …).
Choose = Callable[[str, int, Categorical | Bernoulli], Tensor]


class ControllerNetwork(nn.Module):
    """An LSTM that emits, for each of the student's levels, finest first,

        on or off · loss · connector · anchors of the teacher's levels

    Every type of token has one softmax and one embedding, shared by the levels.
    The input of a step is the embedding of the token before it. At the first
    token of a level, a learned embedding of the level is added, because the
    shared softmaxes could not tell the levels apart otherwise.

    The anchors are selected as the skip connections of Zoph & Le 2017, section
    3.3: the teacher's level j is drawn with probability

        σ(vᵀ tanh(W_prev h_j + W_curr h_i))

    independently of the others. h_i is the LSTM's output at this step. In the
    paper h_j is the LSTM's output at an earlier layer; here it is a learned
    vector for each of the teacher's levels, all of which may be chosen. If none
    is drawn, the student learns from the teacher's level of the same name, as
    the paper connects a layer without input to the image.

    Weights are initialised uniformly in ±0.08, as in the paper, so that all
    tokens are about equally likely.

    Args:
        levels: L, of the student and of the teacher.
        losses: number of losses to choose from; with 0 there is no such token.
        connectors: likewise.
        hidden: width of the LSTM and of all embeddings.
        generator: draws the weights.
    """

    def __init__(self, levels: int, losses: int, connectors: int, hidden: int,
                 generator: torch.Generator) -> None:
        super().__init__()
        sizes = dict(on=2, loss=losses, connector=connectors)
        sizes = {kind: size for kind, size in sizes.items() if size}
        # On the meta device, so that initialising the layers does not draw from
        # the global generator.
        with torch.device('meta'):
            self.cell = nn.LSTMCell(hidden, hidden)
            self.places = nn.Parameter(torch.empty(levels, hidden))
            self.heads = nn.ModuleDict({
                kind: nn.Linear(hidden, size) for kind, size in sizes.items()})
            self.embeddings = nn.ModuleDict({
                kind: nn.Embedding(size, hidden)
                for kind, size in sizes.items()})
            self.anchors = nn.Parameter(torch.empty(levels, hidden))
            self.previous = nn.Linear(hidden, hidden, bias=False)
            self.current = nn.Linear(hidden, hidden, bias=False)
            self.v = nn.Parameter(torch.empty(hidden))
        self.to_empty(device='cpu')
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.08, 0.08, generator=generator)

    @torch.no_grad()
    def sample(self, children: int, generator: torch.Generator) -> Tokens:
        """Draw ``children`` sequences."""

        # Not by sample(), which draws from the global generator.
        def draw(kind: str, level: int, choice: Categorical | Bernoulli) -> Tensor:
            if isinstance(choice, Bernoulli):
                return torch.bernoulli(
                    choice.probs, generator=generator).bool()
            return torch.multinomial(
                choice.probs, 1, generator=generator)[:, 0]

        return self._emit(children, draw)[0]

    def evaluate(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Log-probability (m,) of sequences, and the entropy (m,) along them in
        nats: the sum of the entropies of the distributions that the emitted
        tokens were drawn from."""
        _, log_prob, entropy = self._emit(
            len(tokens['on']), lambda kind, level, _: tokens[kind][:, level])
        return log_prob, entropy

    def anchor_scores(self, output: Tensor) -> Tensor:
        """(m, L) logits of the teacher's levels, for h_i = ``output`` (m, H)."""
        return torch.tanh(
            self.previous(self.anchors) + self.current(output)[:, None]
        ) @ self.v

    def _emit(self, children: int,
              choose: Choose) -> tuple[Tokens, Tensor, Tensor]:
        zeros = self.places.new_zeros(children, self.places.shape[1])
        seen, state = zeros, (zeros, zeros)
        log_prob = entropy = zeros[:, 0]
        drawn: dict[str, list[Tensor]] = {
            kind: [] for kind in [*self.heads, 'teachers']}
        for level, place in enumerate(self.places):
            seen = seen + place
            # Children that emit the next token: all, until one says "off".
            emits = torch.ones(children, dtype=torch.bool)
            for kind, head in self.heads.items():
                state = self._step(seen, state, emits)
                softmax = Categorical(
                    logits=head(state[0]), validate_args=False)
                token = choose(kind, level, softmax)
                drawn[kind].append(token)
                log_prob = log_prob + softmax.log_prob(token).where(emits, 0.)
                entropy = entropy + softmax.entropy().where(emits, 0.)
                seen = self.embeddings[kind](token).where(
                    emits[:, None], seen)
                if kind == 'on':
                    emits = token == 1

            state = self._step(seen, state, emits)
            anchors = Bernoulli(
                logits=self.anchor_scores(state[0]), validate_args=False)
            chosen = choose('teachers', level, anchors)
            drawn['teachers'].append(chosen)
            # A level's anchors are independent, so their terms add up.
            log_prob = log_prob + anchors.log_prob(
                chosen.to(zeros)).sum(-1).where(emits, 0.)
            entropy = entropy + anchors.entropy().sum(-1).where(emits, 0.)
            teachers = learnt_from(chosen, level).to(zeros)
            seen = (teachers @ self.anchors / teachers.sum(-1, keepdim=True)
                    ).where(emits[:, None], seen)
        tokens = {kind: torch.stack(steps, 1) for kind, steps in drawn.items()}
        return tokens, log_prob, entropy

    def _step(self, seen: Tensor, state: tuple[Tensor, Tensor],
              emits: Tensor) -> tuple[Tensor, Tensor]:
        # Children that emit nothing keep their state.
        output, memory = self.cell(seen, state)
        return (output.where(emits[:, None], state[0]),
                memory.where(emits[:, None], state[1]))


def learnt_from(anchors: Tensor, level: int) -> Tensor:
    """(m, L) bool, the teacher's levels that the student's ``level`` learns
    from: those of ``anchors`` (m, L), or that of the same name."""
    own = torch.zeros_like(anchors)
    own[:, level] = True
    return anchors.where(anchors.any(-1, keepdim=True), own)
