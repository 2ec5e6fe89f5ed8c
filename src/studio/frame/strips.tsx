/** Strips over the work: what is wrong with the whole page, what is kept, what to do. */
import { useState } from "preact/hooks";
import { enterToken } from "../backend/token.ts";
import { storageFault } from "../state/notices.ts";
import { useStudio } from "../state/studio.ts";
import { Icon } from "./icons.tsx";

function TokenForm() {
  const studio = useStudio();
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const entered = enterToken(text);
        setWrong(!entered);
        if (entered) studio.refresh();
      }}
    >
      <input
        class="field"
        aria-label="Address or token that the command printed"
        placeholder="http://127.0.0.1:…/#token=…"
        autocomplete="off"
        value={text}
        aria-invalid={wrong}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <button type="submit" class="outlined">
        Connect
      </button>
      {wrong && <span>There is no token in it.</span>}
    </form>
  );
}

export function Strips() {
  const studio = useStudio();
  const connection = studio.connection.value;
  return (
    <div class="strips">
      {studio.backend.page?.missing && (
        <div class="strip" role="alert">
          <Icon name="warn" />
          <span>{studio.backend.page.missing} What was said here before stays readable.</span>
        </div>
      )}
      {connection.state === "lost" && (
        <div class="strip" role="alert">
          <Icon name="warn" />
          <span>
            The server does not answer. What is written here is kept; work that was asked for goes on if the
            server still runs.
          </span>
          {/* Counted for those who see: a reader would say it again with each attempt. */}
          <span class="soft" aria-hidden="true">
            Attempt {connection.attempts}
          </span>
          <button type="button" class="outlined" onClick={() => studio.refresh()}>
            Try now
          </button>
        </div>
      )}
      {connection.state === "other" && (
        <div class="strip" role="alert">
          <Icon name="warn" />
          <span>
            The server is version {connection.version}, this page {studio.version}. Nothing that you typed is
            lost by loading it again.
          </span>
          <button type="button" class="outlined" onClick={() => location.reload()}>
            Load the page again
          </button>
        </div>
      )}
      {connection.state === "denied" && (
        <div class="strip" role="alert">
          <Icon name="warn" />
          <span>
            The server was started again, or this page came without its token. Give what the command printed:
          </span>
          <TokenForm />
        </div>
      )}
      {storageFault.value !== null && (
        <div class="strip" role="alert">
          <Icon name="warn" />
          <span>{storageFault.value}</span>
          <button
            type="button"
            class="outlined"
            onClick={() => {
              storageFault.value = null;
            }}
          >
            Close
          </button>
        </div>
      )}
    </div>
  );
}
