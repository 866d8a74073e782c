// Which answers share which place: pure functions on tiers, lists of lists of answers, best first.

/** The tiers that ratings suggest: by their sum, equal ones tied, the shown order within a tie. */
export function presorted(ratings, count) {
  const rows = Object.values(ratings);
  const total = (index) => rows.reduce((sum, row) => sum + (row[index] ?? 0), 0);
  const rated = rows.length > 0 && rows.some((row) => row.some((mark) => mark !== null));
  const indices = [...Array(count).keys()];
  if (!rated) return indices.map((index) => [index]);
  const tiers = new Map();
  indices.forEach((index) => tiers.set(total(index), [...(tiers.get(total(index)) ?? []), index]));
  return [...tiers.entries()].sort((a, b) => b[0] - a[0]).map(([, tier]) => tier);
}

/** The items in the order of the page. */
export function flat(tiers) {
  return tiers.flat();
}

/** The tiers with ties broken into an order where `item` stands at place `to` (from 0), alone. */
export function moved(tiers, item, to) {
  const rest = tiers.map((tier) => tier.filter((other) => other !== item)).filter((tier) => tier.length);
  const made = [];
  let passed = 0;
  let placed = false;
  for (const tier of rest) {
    if (!placed && to < passed + tier.length) {
      const before = tier.slice(0, to - passed);
      const after = tier.slice(to - passed);
      made.push(...[before, [item], after].filter((part) => part.length));
      placed = true;
    } else {
      made.push(tier);
    }
    passed += tier.length;
  }
  if (!placed) made.push([item]);
  return made;
}

/** One step up or down past the neighbouring tier; out of a tie first. */
export function stepped(tiers, item, step) {
  const at = tiers.findIndex((tier) => tier.includes(item));
  const alone = tiers[at].length === 1;
  const rest = tiers.map((tier) => tier.filter((other) => other !== item));
  const made = rest.map((tier) => [...tier]);
  const insertAt = step < 0 ? (alone ? at - 1 : at) : (alone ? at + 2 : at + 1);
  if (insertAt < 0 || insertAt > tiers.length) return tiers;
  made.splice(insertAt, 0, [item]);
  return made.filter((tier) => tier.length);
}

/** The item tied with the tier above it, or taken out of its tie. */
export function tied(tiers, item) {
  const at = tiers.findIndex((tier) => tier.includes(item));
  const made = tiers.map((tier) => [...tier]);
  if (made[at].length > 1) {
    const place = made[at].indexOf(item);
    const parts = [made[at].slice(0, place), made[at].slice(place)].filter((part) => part.length);
    if (parts.length > 1) made.splice(at, 1, ...parts);
    else made.splice(at, 1, [item], made[at].filter((other) => other !== item));
  } else if (at > 0) {
    made.splice(at - 1, 2, [...made[at - 1], item]);
  }
  return made;
}

/**
 * Places given by digits: an item with a place stands there, the same place twice is a tie; the others keep their
 * order in what is left.
 */
export function placed(tiers, places) {
  const order = flat(tiers);
  const rank = new Map(order.map((item, index) => [item, index + 1]));
  const key = (item) => places.get(item) ?? rank.get(item);
  const sorted = [...order].sort((a, b) => key(a) - key(b) || places.has(b) - places.has(a) || rank.get(a) - rank.get(b));
  const made = [];
  sorted.forEach((item) => {
    const before = made.at(-1)?.[0];
    const tie = before !== undefined && places.has(item) && places.get(item) === places.get(before);
    if (tie) made.at(-1).push(item);
    else made.push([item]);
  });
  return made;
}
