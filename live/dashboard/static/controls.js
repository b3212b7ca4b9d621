// What an operator may do: each asks first, says exactly what will happen, and counts once however often it is sent.
"use strict";

(() => {
  const find = (id) => document.getElementById(id);
  const MAY = ["trader", "admin"];
  const dialog = find("dialog"), confirm = find("dialog-confirm"), answered = find("dialog-answer");
  let session = null, asked = null;

  // randomUUID is there on loopback and under TLS only.
  const newId = () => `page-${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  const text = (name) => facts.get(name).textContent;
  const rowsOf = (section) => [...tables.get(section).known.values()];
  const field = (held, name) => held.row?.[name] ?? held.texts.find(([, of]) => of === name)?.[0].textContent ?? "";

  async function signedIn() {
    const offer = find("sign-in");
    if (!("signedIn" in page)) { offer.hidden = false; return; }
    const answer = await fetch("/session");
    session = answer.ok ? await answer.json() : null;
    const may = session !== null && MAY.includes(session.role);
    offer.hidden = session !== null;
    find("sign-out").hidden = session === null || !session.csrf_token;
    find("operator").textContent = session === null ? "" : `${session.operator}, ${session.role}`;
    for (const element of document.querySelectorAll(".trader")) element.hidden = !may;
    for (const section of ["positions", "instruments", "waiting"]) {
      for (const element of find(`row-${section}`).content.querySelectorAll(".trader")) element.hidden = !may;
    }
  }

  async function send(path, body) {
    const answer = await fetch(`${path}?${new URLSearchParams({ portfolio })}`, {
      method: "POST", headers: { "Content-Type": "application/json", "X-CSRF-Token": session.csrf_token }, body: JSON.stringify(body),
    });
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 401) { session = null; find("sign-in").hidden = false; }
    return { ok: answer.ok, status: answer.status, told };
  }

  const saidOf = ({ ok, status, told }) => {
    if (!ok) return status === 401 ? "You are no longer signed in: sign in, then ask again." : `Refused: ${told.error?.message ?? `answer ${status}`}`;
    const first = told.status === "duplicate" ? told.first : told;
    return first.reason ? `${first.status}: ${first.reason}` : `Done: ${first.status}.`;
  };

  find("sign-out").addEventListener("click", async () => {
    const { ok } = await send("/logout", {});
    if (ok) location.reload();
  });

  // --- one question at a time

  function question({ title, words, does, path, body = {}, fields = [] }) {
    asked = { path, body, id: newId() };
    find("dialog-title").textContent = title;
    find("dialog-words").textContent = words;
    find("dialog-fields").replaceChildren(...fields.map(input));
    answered.textContent = "";
    confirm.textContent = does;
    confirm.hidden = false;
    confirm.disabled = false;
    find("dialog-cancel").textContent = "Cancel";
    dialog.showModal();
    (fields.length ? find("dialog-fields").querySelector("input, select") : find("dialog-cancel")).focus();
  }

  function input({ name, label, value = "", options, required = true, type = "text", ...more }) {
    const outer = document.createElement("label");
    const inner = options ? document.createElement("select") : document.createElement("input");
    if (options) inner.append(...options.map((option) => new Option(option)));
    Object.assign(inner, { name, value: options ? value || options[0] : value, required }, options ? {} : { type, ...more });
    outer.append(label, inner);
    return outer;
  }

  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
    confirm.disabled = true;
    answered.textContent = "Asking the engine…";
    try {
      // The same id again, should the answer be lost and it be sent once more: it is done once.
      const answer = await send(asked.path, { ...asked.body, ...given, request_id: asked.id });
      answered.textContent = saidOf(answer);
      confirm.hidden = answer.ok;
      confirm.disabled = false;
      if (answer.ok) { find("dialog-cancel").textContent = "Close"; find("dialog-cancel").focus(); }
    } catch {
      answered.textContent = "The engine does not answer. It may have been done; asking again does it once.";
      confirm.disabled = false;
    }
  });
  find("dialog-cancel").addEventListener("click", () => dialog.close());

  // --- trading

  const fills = () => (text("fills") === "from the broker" ? "Orders go to the broker at market." : "They are filled on paper at their marks.");
  const optional = { name: "reason", label: "Reason", required: false };

  find("halt").addEventListener("click", () => question({
    title: "Halt trading?", does: "Halt trading", path: "/halt", fields: [optional],
    words: `No entry of ${portfolio} is taken from now on, whoever sends it; it is answered "blocked: halted".\nExits, stops and the ${text("open_positions")} open positions go on. It survives a restart, until it is resumed.`,
  }));
  find("resume").addEventListener("click", () => question({
    title: "Resume trading?", does: "Resume trading", path: "/resume", words: `Entries of ${portfolio} are taken again from now on. What was blocked meanwhile stays blocked.`,
  }));
  find("close-all").addEventListener("click", () => {
    const positions = rowsOf("positions"), lots = rowsOf("instruments").reduce((sum, held) => sum + Number(field(held, "lots")), 0);
    question({
      title: "Close every position?", does: `Close all ${text("open_positions")}`, path: "/positions/ALL/close", fields: [optional],
      words: `All ${text("open_positions")} open positions of ${portfolio}, ${lots} lots, are closed, whatever the filter shows. ${fills()}\nOpen result now: ${text("unrealized_total")}. Trading is not halted by it: new entries may come.`
        + (positions.length ? "" : "\nNothing is open."),
    });
  });

  function closeOne(id) {
    const held = rowsOf("positions").find((each) => each.element.querySelector("[data-close]").dataset.close === id);
    if (!held) return;
    const [instrument, layer, lots, mark, pnl] = ["instrument", "layer", "lots", "mark", "pnl"].map((name) => field(held, name));
    question({
      title: `Close ${instrument} ${layer}?`, does: "Close it", path: `/positions/${encodeURIComponent(id)}/close`, fields: [optional],
      words: `${lots} lots of ${instrument}, ${layer}, are closed; the mark is ${mark}, the open result ${pnl}. ${fills()}\nOther layers stay open. Position ${id}.`,
    });
  }

  const freeze = (instrument) => question({
    title: `Freeze entries of ${instrument}?`, does: "Freeze", path: "/halt", body: { instrument }, fields: [optional],
    words: `No entry of ${instrument} is taken until the freeze is lifted. Its exits and all other instruments go on.`,
  });
  const unfreeze = (instrument) => question({
    title: `Lift the freeze of ${instrument}?`, does: "Lift it", path: "/resume", body: { instrument },
    words: `Entries of ${instrument} are taken again. They were frozen because: ${rowsOf("instruments").map((held) => [field(held, "name"), field(held, "frozen")]).find(([name]) => name === instrument)?.[1]}`,
  });

  // --- what waits for a human

  const asking = (id) => rowsOf("waiting").find((each) => each.element.querySelector("[data-approve]").dataset.approve === id);
  const asks = (held) => ["does", "side", "instrument", "layer", "lots", "price", "stop", "risk", "share", "until"].map((name) => field(held, name));

  function approve(id) {
    const held = asking(id);
    if (!held) return;
    const [does, side, instrument, layer, lots, price, stop, risk, share, until] = asks(held);
    const exits = does === "close";
    question({
      title: `Approve: ${does} ${side} ${instrument} ${layer}?`, does: "Approve it", path: `/proposals/${encodeURIComponent(id)}/approve`,
      fields: [
        ...(exits ? [] : [{ name: "lots", label: `Lots (empty: ${lots})`, required: false, inputMode: "numeric", pattern: "[1-9][0-9]*" }]),
        { name: "price", label: "Price (empty: latest)", required: false, inputMode: "decimal" },
        { name: "note", label: "Note", required: false, maxLength: 500 },
      ],
      words: (exits ? `What is open of ${layer === "ALL" ? instrument : `${instrument} ${layer}`} is closed. ` : `${lots} lots at about ${price} with the stop at ${stop}: ${risk} at risk, ${share} of the equity. `)
        + `Every limit is asked again now, at the latest price that is known or at the one given here; what does not fit any more is refused and waits on.${exits ? "" : ` Without other lots given, at most ${lots} are done, and fewer where no more fit.`}\n${fillsOf(exits)}\nIt waits until ${until}. Proposal ${id}.`,
    });
  }
  const fillsOf = (exits) => (text("fills") === "from the broker" ? "An order goes to the broker." : `It is filled on paper${exits ? "" : " at that price"}.`);

  function reject(id) {
    const held = asking(id);
    if (!held) return;
    const [does, side, instrument, layer, lots] = asks(held);
    question({
      title: `Reject: ${does} ${side} ${instrument} ${layer}?`, does: "Reject it", path: `/proposals/${encodeURIComponent(id)}/reject`,
      fields: [{ name: "note", label: "Why", maxLength: 500 }],
      words: `${lots} lots were proposed; nothing of it is done, and it is over. The note is kept in the journal. Proposal ${id}.`,
    });
  }

  // --- what the broker holds

  find("reconcile").addEventListener("click", async () => {
    const place = find("findings");
    place.textContent = "Asking the broker…";
    try {
      const answer = await send("/reconcile", {});
      if (!answer.ok) { place.textContent = saidOf(answer); return; }
      const differing = answer.told.findings.filter((finding) => !["matched", "in flight"].includes(finding.kind));
      place.replaceChildren(...(differing.length ? differing.map(shown) : [`All ${answer.told.findings.length} symbols agree.`]));
    } catch { place.textContent = "The engine does not answer."; }
  });

  function shown(finding) {
    const outer = Object.assign(document.createElement("div"), { className: "finding" });
    const words = `${finding.symbol} ${finding.exchange}: ${finding.kind}. Ours ${finding.ours}, the broker's ${finding.broker}`;
    outer.append(words + (finding.accepted === "0" ? "" : `, accepted besides ours ${finding.accepted}`), document.createElement("br"));
    const offer = (label, work) => outer.append(Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: label, onclick: work }));
    if (finding.instrument === null || finding.kind === "database differs") return outer;
    const difference = exactDifference(finding.broker, finding.ours);
    offer("Adopt…", () => adopt(finding));
    offer("Write off…", () => writeOff(finding));
    offer("Ignore…", () => question({
      title: `Ignore the difference of ${finding.instrument}?`, does: "Ignore it", path: "/reconcile/ignore", body: { instrument: finding.instrument },
      fields: [{ name: "difference", label: "Broker minus ours", value: difference }],
      words: `It is accepted that the broker holds ${difference} of ${finding.instrument} besides ours: nothing is bought or sold, no position changes, and the two match as long as it stays so.`,
    }));
    return outer;
  }

  // Quantities are decimals: as whole numbers of their last digit they are subtracted exactly.
  function exactDifference(one, other) {
    const scale = Math.max(...[one, other].map((number) => (number.split(".")[1] ?? "").length));
    const whole = (number) => { const [left, right = ""] = number.split("."); return BigInt(left + right.padEnd(scale, "0")); };
    const difference = whole(one) - whole(other), digits = String(difference < 0n ? -difference : difference).padStart(scale + 1, "0");
    const shownAs = scale ? `${digits.slice(0, -scale)}.${digits.slice(-scale)}` : digits;
    return (difference < 0n ? "-" : "") + shownAs;
  }

  const layers = ["Long", "Short"].flatMap((side) => [1, 2, 3, 4, 5, 6].map((number) => `${side}_${number}`));
  const adopt = (finding) => question({
    title: `Adopt a position of ${finding.instrument}?`, does: "Adopt", path: "/reconcile/adopt", body: { instrument: finding.instrument, symbol: finding.symbol },
    fields: [
      { name: "layer", label: "Layer", options: layers }, { name: "lots", label: "Lots" }, { name: "price", label: "Entry price" },
      { name: "stop", label: "Stop" }, { name: "atr", label: "ATR", required: false },
    ],
    words: `What the broker holds of ${finding.symbol} and we do not becomes a position of ours, at the price and stop given here. Nothing is bought or sold; from then on our stops and exits close it.`,
  });

  function writeOff(finding) {
    const ids = rowsOf("positions").filter((held) => field(held, "instrument") === finding.instrument)
      .map((held) => held.element.querySelector("[data-close]").dataset.close);
    if (!ids.length) { find("findings").append(` Nothing of ${finding.instrument} is open here.`); return; }
    question({
      title: `Write off ${finding.instrument}?`, does: "Write off", path: "/reconcile/write-off",
      fields: [
        { name: "position_id", label: "Position", options: ids }, { name: "lots", label: "Lots (all: empty)", required: false },
        { name: "price", label: "Sold at" }, optional,
      ],
      words: `Lots of ours that the broker no longer holds are booked as sold at the price given here. Nothing is sent to the broker.`,
    });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    const { close, freeze: frozen, unfreeze: lifted, approve: approved, reject: rejected } = button.dataset;
    if (approved) approve(approved); else if (rejected) reject(rejected); else if (close) closeOne(close); else if (frozen) freeze(frozen); else if (lifted) unfreeze(lifted);
  });
  signedIn().catch(() => {});
})();
