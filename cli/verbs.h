/* The verbs of the program: one function and one file each (main.c has the table).
 * argv[0] is the verb; the result is the exit code: 0 done, 1 failed, 2 wrong usage. */
#ifndef VR_CLI_VERBS_H
#define VR_CLI_VERBS_H

int vr_cmd_convert(int argc, char **argv);
int vr_cmd_inspect(int argc, char **argv);
int vr_cmd_run(int argc, char **argv);
int vr_cmd_chat(int argc, char **argv);
int vr_cmd_trace(int argc, char **argv);
int vr_cmd_verify(int argc, char **argv);
int vr_cmd_tokenize(int argc, char **argv);
int vr_cmd_detokenize(int argc, char **argv);
int vr_cmd_prompt(int argc, char **argv);
int vr_cmd_batch(int argc, char **argv);
int vr_cmd_eval(int argc, char **argv);
int vr_cmd_score(int argc, char **argv);
int vr_cmd_train(int argc, char **argv);
int vr_cmd_bench(int argc, char **argv);

#endif
