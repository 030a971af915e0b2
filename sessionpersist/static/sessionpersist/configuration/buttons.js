// Test connection and Save. What a test says is of the fields as they were: it goes as soon as one is changed.
"use strict";

{
    const { clearErrors, clearErrorsOf, paragraph, post, showErrors, tell } = sessionpersist;
    const YOUR_PASSWORD = "your_password";
    const LONGEST_TIMER = 2 ** 31 - 1;
    const form = document.getElementById("loginconfiguration_form");
    const result = document.getElementById("sp-result");
    const testButton = form.querySelector("[name=_test]");
    const saveButton = form.querySelector("[name=_save]");
    let editions = 0; // how often a field was changed

    function busy(button, text) {
        const label = button.textContent;
        button.textContent = text;
        tell(text);
        testButton.disabled = saveButton.disabled = true;
        return label;
    }

    function idle(button, label) {
        button.textContent = label;
        testButton.disabled = saveButton.disabled = false;
    }

    async function testConnection(event) {
        event.preventDefault();
        const label = busy(testButton, form.dataset.testing);
        const edition = editions;
        clearErrors();
        result.replaceChildren();
        try {
            const body = new FormData(form);
            body.delete(YOUR_PASSWORD); // a test needs none
            const found = await post(testButton.formAction, body);
            if (edition === editions) {
                result.innerHTML = found.html; // rendered and escaped by the site's own template
                showErrors(found.errors);
            } else {
                result.replaceChildren(paragraph(form.dataset.outdated, "sp-verdict"));
            }
        } catch {
            result.replaceChildren(paragraph(form.dataset.noAnswer, "sp-verdict sp-failed"));
        } finally {
            idle(testButton, label);
            tell([result.querySelector(".sp-verdict").textContent.trim(), wrongFields()].filter(Boolean).join(" "));
        }
        if (document.activeElement === document.body) {
            testButton.focus({ preventScroll: true }); // disabled, it lost the focus that a keyboard goes on from
        }
        result.scrollIntoView({ block: "nearest" });
    }

    // Which fields an error is shown at, in a sentence.
    function wrongFields() {
        const labels = [...form.querySelectorAll(".sp-field.errors > label")].map((each) => each.textContent.trim());
        return labels.length ? form.dataset.wrongFields.replace("{fields}", labels.join(", ")) : "";
    }

    function edited({ target }) {
        if (target.name === YOUR_PASSWORD || target.closest(".sp-policy")) {
            clearErrorsOf(target); // it is no part of what was tested
            return;
        }
        editions += 1;
        if (result.querySelector(".sp-steps")) {
            clearErrors(); // what the store said, to all fields together
        } else {
            clearErrorsOf(target);
        }
        result.replaceChildren();
    }

    function saving() {
        const label = busy(saveButton, form.dataset.saving);
        sessionpersist.leaving = true;
        const back = () => {
            idle(saveButton, label);
            sessionpersist.leaving = false;
            document.dispatchEvent(new Event("sp-back"));
        };
        window.addEventListener("pageshow", back, { once: true }); // back to this page
    }

    // Your own password: asked for once it was entered too long ago, which may be while the page is open.
    const again = form.querySelector("[data-due]");
    form.elements[YOUR_PASSWORD]?.addEventListener("keydown", (event) => {
        if (event.key === "Enter") {
            event.preventDefault(); // which would press the first button
            saveButton.click();
        }
    });
    if (again) {
        const due = Math.min(Number(again.dataset.due) * 1000, LONGEST_TIMER);
        setTimeout(() => again.removeAttribute("hidden"), due);
    }
    testButton.addEventListener("click", testConnection);
    form.addEventListener("submit", saving);
    form.addEventListener("input", edited);
}
