# bash completion of vrwkv: verbs, options, files. tests/cli.sh compares it with the help texts.
_vrwkv() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]-}
    local verbs="convert inspect run chat batch train eval score tokenize detokenize prompt trace verify bench"
    local model="--model --mmproj --scan --image-position --threads --no-mmap --mlock"
    local sampling="--greedy --temp --top-k --top-p --min-p --typical --repeat-penalty --presence-penalty --frequency-penalty --penalty-decay --seed"
    local options
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$verbs --help --version" -- "$cur")
        return
    fi
    case $prev in
    --pad) mapfile -t COMPREPLY < <(compgen -W "manner original none" -- "$cur"); return ;;
    --manner) mapfile -t COMPREPLY < <(compgen -W "friendly original" -- "$cur"); return ;;
    --scan) mapfile -t COMPREPLY < <(compgen -W "unidirection bidirection multidirection rotation spiral snake zigzag" -- "$cur"); return ;;
    --image-position) mapfile -t COMPREPLY < <(compgen -W "first last middle" -- "$cur"); return ;;
    --version) mapfile -t COMPREPLY < <(compgen -W "v5.1 v6.0 v6.20 hd uhd v7.00 v7.01 v7.02 v7.03 v7.04" -- "$cur"); return ;;
    --type) [ "$verb" = convert ] && { mapfile -t COMPREPLY < <(compgen -W "f32 f16 bf16 q8_0 q6_k q5_k q4_k q4_0 auto:4.5 auto:5 auto:6" -- "$cur"); return; } ;;&
    --type | --vision-type) mapfile -t COMPREPLY < <(compgen -W "f32 f16 bf16 q8_0 q6_k q5_k q4_k q4_0" -- "$cur"); return ;;
    --train) mapfile -t COMPREPLY < <(compgen -W "proj rwkv emb vit state lora" -- "$cur"); return ;;
    --recompute) [ "$verb" = train ] && { mapfile -t COMPREPLY < <(compgen -W "auto on off" -- "$cur"); return; } ;;
    --l2wrap) mapfile -t COMPREPLY < <(compgen -W "all 0" -- "$cur"); return ;;
    --output) mapfile -t COMPREPLY < <(compgen -W "separate merged" -- "$cur"); return ;;
    --shape) mapfile -t COMPREPLY < <(compgen -W "v6-1b6 v6-3b v6-7b v7-0b1 v7-0b4 v7-1b5" -- "$cur"); return ;;
    -n | -p | -t | -r | --repeats | --lengths | --max-tokens | --prompt | --tokens | --threads | --temp | --top-k | --top-p | --min-p | --typical | \
        --repeat-penalty | --presence-penalty | --frequency-penalty | --penalty-decay | --seed | --stop | --stop-token | \
        --ctx-len | --limit | --chunk | --batch | --rank-top | --vit-heads | --grid-size | --num-token-per-image | --rescale-every | \
        --stage | --epochs | --steps | --lr | --lr-final | --warmup | --save-every | --eval-every | --lora-rank | --freeze-layers) return ;;
    esac
    case $verb in
    convert) options="--out --type --vision-type --samples --split --rescale-every --vision --seed --vocab --config --version --vit-heads --grid-size --num-token-per-image --image-position --scan --ctx-len --threads --json" ;;
    inspect) options="--brief --config --json --threads" ;;
    run) options="$model $sampling --image --prompt --tokens --raw --pad --no-blank-image --manner --max-tokens --stop --stop-token --json --state-in --state-out --half-state --recompute --ctx-len" ;;
    chat) options="$model $sampling --image --no-blank-image --manner --state-in --max-tokens" ;;
    batch) options="$model --question --questions --schema --out --recursive --max-tokens --keep-going --manner --pad --batch --no-reuse --json" ;;
    train) options="--model --mmproj --config --data --images --out --stage --train --lora-rank --freeze-layers --epochs --steps \
        --batch --accumulate --epoch-steps --epoch-begin --lr --lr-final --warmup --weight-decay --weight-decay-final \
        --beta1 --beta2 --adam-eps --grad-clip --l2wrap --ctx-len --scan --image-position --grid-size --vocab --vocab-data --seed --init-ln0 --group \
        --manner --save-every --output --keep --eval-data --eval-every --save-every --eval-samples --eval-answers \
        --patience --recompute --feature-cache --max-memory --threads --freeze-rwkv --epoch-count --micro-bsz \
        --lr-init --warmup-steps --resume --plot" ;;
    eval) options="$model --data --check --split --questions --images --limit --chunk --keep-going --manner --pad --max-tokens --batch --no-reuse --rank --rank-top --out --submission --gallery --no-report --json" ;;
    score) options="--data --answers --split --questions --limit --submission --manner --keep-going --threads --json" ;;
    tokenize) options="--model --json --threads" ;;
    detokenize) options="--model --bytes --json --threads" ;;
    prompt) options="--image-position --version --ctx-len --model --json --threads" ;;
    trace) options="$model --tokens --prompt --image --pixels --manner --out --pad" ;;
    verify) options="--manner --strict --threads --json --verbose" ;;
    bench) options="--shape --type --vision-type --model --prompt --repeats --lengths --plot --threads --json" ;;
    *) return ;;
    esac
    if [ "${cur#-}" != "$cur" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$cur")
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}
complete -F _vrwkv vrwkv
