// Warns before the session of this page's user ends, and asks for a login afterwards, without losing the page.
//
// The server alone decides when a session is over: this script asks it, by a request that does not count as use. Tabs of
// one browser tell each other what they heard. It needs no inline code and no style, and nothing from elsewhere.
"use strict";

{
    const root = document.getElementById("sp-timeout");
    const texts = root.dataset;
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const [warning, over, other] = ["warning", "over", "other"].map(part);
    const tabs = "BroadcastChannel" in window ? new BroadcastChannel("sessionpersist") : null;

    const LONGEST_WAIT = 3600000; // milliseconds: browsers cannot wait for a month in one go
    const ONCE = 1000; // milliseconds between two questions
    const AGAIN = 10000; // milliseconds until a server that did not answer is asked again
    const GIVE_UP = 15000; // milliseconds for an answer

    let end = Infinity; // on this machine's clock
    let confirmed = false; // whether the server has said since the warning became due that it is due
    let asked = 0; // when the server was last asked
    let heard = ""; // who is logged in, as the server last said
    let wanted = null; // the dialog that is to be open
    let dismissed = false; // the warning of an end that nothing moves
    let timer = 0;
    let ticking = 0;

    // --- What the server says ---

    async function fetchJson(url, options = {}) {
        const headers = { Accept: "application/json", ...options.headers };
        const signal = AbortSignal.timeout(GIVE_UP);
        const response = await fetch(url, { credentials: "same-origin", signal, ...options, headers });
        const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
        return { response, answer: isJson ? await response.json() : null };
    }

    // Without an answer nothing is known of the session: nothing is said, and it asks again.
    async function ask() {
        asked = Date.now();
        wait(AGAIN);
        const answer = await remaining();
        if (answer) {
            hear(answer, { tell: true });
        }
    }

    async function remaining() {
        try {
            const { response, answer } = await fetchJson(texts.remaining);
            return response.ok ? answer : null;
        } catch {
            return null;
        }
    }

    // `answer.user` is "" where nobody is logged in; `answer.left` is null where nothing ends the session.
    function hear(answer, { tell }) {
        heard = answer.user;
        if (tell) {
            tabs?.postMessage({ user: answer.user, left: answer.left, extends: answer.extends });
        }
        if (!answer.user) {
            showOver(answer.reason);
            return;
        }
        if (answer.user !== texts.user) {
            show(other);
            return;
        }
        if (answer.csrf) {
            renewTokens(answer.csrf);
        }
        const again = wanted === over || wanted === other;
        if (again) {
            close();
        }
        end = answer.left === null ? Infinity : Date.now() + answer.left;
        confirmed = left() <= Number(texts.warning);
        texts.extends = answer.extends ? "yes" : "no";
        look();
        if (again) {
            document.dispatchEvent(new CustomEvent("sessionpersist:login", { detail: { csrf: answer.csrf } }));
        }
    }

    // Forms on the page carry the token of the login before, which the server no longer takes.
    function renewTokens(token) {
        for (const input of document.querySelectorAll('input[name="csrfmiddlewaretoken"]')) {
            input.value = token;
        }
    }

    // --- The dialogs ---

    function show(dialog) {
        if (wanted !== dialog) {
            close();
            wanted = dialog;
            dialog.showModal();
        }
    }

    function close() {
        const dialog = wanted;
        wanted = null;
        clearInterval(ticking);
        part("announcement").textContent = "";
        dialog?.close();
    }

    // --- The warning ---

    function left() {
        return end - Date.now();
    }

    function wait(milliseconds) {
        clearTimeout(timer);
        timer = setTimeout(look, Math.min(Math.max(milliseconds, 0), LONGEST_WAIT));
    }

    // Called whenever something may be due. A machine that slept calls it late.
    function look() {
        if (wanted === over || wanted === other) {
            return;
        }
        const before = left() - Number(texts.warning);
        if (before > 0) {
            dismissed = false;
            close();
            wait(before);
        } else if (left() > 0 && confirmed) {
            warn();
        } else if (Date.now() - asked > ONCE) {
            ask(); // a request of the page may have moved the end
        } else {
            wait(ONCE);
        }
    }

    function warn() {
        const mayStay = texts.extends === "yes";
        part("extends").hidden = part("stay").hidden = !mayStay;
        part("final").hidden = part("close").hidden = mayStay;
        if (wanted !== warning && !dismissed) {
            part("problem").hidden = true;
            show(warning);
            ticking = setInterval(tick, 1000);
            tick();
        }
        wait(left() + 500);
    }

    function tick() {
        const seconds = Math.max(0, Math.ceil(left() / 1000));
        const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
        part("clock").textContent = clock;
        if (part("announcement").textContent === "" || seconds % 60 === 0 || seconds === 20) {
            part("announcement").textContent = inWords(seconds);
        }
    }

    function inWords(seconds) {
        const minutes = Math.floor(seconds / 60);
        const rest = seconds % 60;
        const words = [];
        if (minutes) {
            words.push(minutes === 1 ? texts.minute : texts.minutes.replace("{minutes}", minutes));
        }
        if (rest || !minutes) {
            words.push(rest === 1 ? texts.second : texts.seconds.replace("{seconds}", rest));
        }
        return words.join(", ");
    }

    function goOn(dialog) {
        if (dialog === warning) {
            part(texts.extends === "yes" ? "stay" : "close").click();
        }
    }

    async function stay() {
        part("problem").hidden = true;
        const known = await remaining();
        const answer = known?.user === texts.user ? await stayed(known.csrf) : known;
        if (answer) {
            hear(answer, { tell: true });
        } else {
            part("problem").textContent = texts.unreachable;
            part("problem").hidden = false;
        }
    }

    async function stayed(csrf) {
        try {
            const headers = { "X-CSRFToken": csrf };
            const { response, answer } = await fetchJson(texts.stay, { method: "POST", headers });
            if (answer?.error === "session_ended") {
                return { user: "", reason: answer.message };
            }
            return response.ok ? answer : null;
        } catch {
            return null;
        }
    }

    // --- The login afterwards ---

    function showOver(reason) {
        clearTimeout(timer);
        if (wanted !== over) {
            part("reason").textContent = reason || texts.expired;
            part("form").hidden = true;
            show(over);
            offerForm();
        }
    }

    // The form of the login page, where that can be shown here; else the link to a new tab is all there is.
    async function offerForm() {
        const { answer } = await fetchJson(texts.login).catch(() => ({ answer: null }));
        if (answer?.fields) {
            showForm(answer);
        }
    }

    function showForm({ fields, errors, csrf }) {
        const form = part("form");
        form.dataset.csrf = csrf;
        part("fields").replaceChildren(...fields.map(fieldOf));
        showErrors(errors.concat(...fields.map((field) => field.errors)));
        form.hidden = false;
        const inputs = [...form.querySelectorAll("input:not([type=hidden], [type=checkbox])")];
        (inputs.find((input) => !input.value) || inputs[0])?.focus();
    }

    function showErrors(errors) {
        part("errors").hidden = !errors.length;
        part("errors").textContent = errors.join(" ");
    }

    function fieldOf({ name, label, type, value, autocomplete, required }) {
        const input = document.createElement("input");
        Object.assign(input, { name, type, autocomplete, required, id: `sp-over-${name}` });
        if (type !== "checkbox") {
            input.value = value;
        }
        if (type === "hidden") {
            return input;
        }
        const caption = document.createElement("label");
        caption.htmlFor = input.id;
        caption.textContent = label;
        const row = document.createElement("div");
        row.className = type === "checkbox" ? "sp-field sp-tick" : "sp-field";
        row.append(...(type === "checkbox" ? [input, caption] : [caption, input]));
        return row;
    }

    async function logIn(event) {
        event.preventDefault();
        const form = part("form");
        const button = form.querySelector("button");
        button.disabled = true;
        try {
            const headers = { "X-CSRFToken": form.dataset.csrf };
            const body = new FormData(form);
            afterLogin(await fetchJson(texts.login, { method: "POST", body, headers }));
        } catch {
            showErrors([texts.unreachable]);
        } finally {
            button.disabled = false;
        }
    }

    function afterLogin({ response, answer }) {
        if (answer?.done) {
            ask();
        } else if (answer?.fields) {
            showForm(answer);
        } else if (response.status === 503) {
            showErrors([texts.unreachable]);
        } else {
            part("form").hidden = true; // a second step, or a refusal: that takes a page of its own
            part("elsewhere").querySelector("a").focus();
        }
    }

    // --- What happens ---

    part("stay").addEventListener("click", stay);
    part("close").addEventListener("click", () => {
        dismissed = true;
        close();
    });
    part("reload").addEventListener("click", () => location.reload());
    part("form").addEventListener("submit", logIn);
    // Escape, or “Back” on a phone, is the wish to go on. It opens no page of somebody whose session is over.
    for (const dialog of [warning, over, other]) {
        dialog.addEventListener("cancel", (event) => event.preventDefault());
        dialog.addEventListener("keydown", (event) => {
            if (event.key === "Escape") {
                event.preventDefault();
                goOn(dialog);
            }
        });
        // A browser closes it all the same if it is asked twice.
        dialog.addEventListener("close", () => {
            if (wanted === dialog && !dialog.open) {
                dialog.showModal();
                goOn(dialog);
            }
        });
    }
    // Only a page that goes on as it is needs nothing more: a token and a reason come from the server.
    tabs?.addEventListener("message", ({ data }) => {
        if (data.user !== heard) {
            ask();
        } else if (data.user === texts.user) {
            hear(data, { tell: false });
        }
    });
    document.addEventListener("visibilitychange", () => document.hidden || (wanted === over ? ask() : look()));
    window.addEventListener("pageshow", (event) => event.persisted && ask());

    hear({ ...texts, left: texts.left === "" ? null : Number(texts.left), extends: texts.extends === "yes" }, { tell: true });
}
